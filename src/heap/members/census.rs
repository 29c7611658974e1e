//! Counting everything in the heap, for tests: what is taken must be what is reachable, wherever a process died.

use super::references::page_at;
use crate::heap::Heap;
use crate::heap::memory::chunks::split;
use crate::heap::memory::layout::{CLASSES, ORDERS, chunk, entry, header, kind, state};
use crate::wait::atomic::Ordering;

/// What is in use in the heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// Bytes of blocks in use, slabs included.
    used_bytes: u64,
    /// Cells in use, by class.
    cells: Vec<u64>,
    /// Blocks in use.
    blocks: u64,
    /// Entries that are not free.
    entries: u64,
    /// References of processes.
    references: u64,
}

impl Heap {
    /// Counts the pages of this process's table of references.
    pub(crate) fn pages(&self) -> usize {
        let entry = self.my_entry();
        self.transact(|tx| {
            let end = tx.get(entry!(entry, hold_pages));
            Ok((0..end).filter(|&page| page_at(tx, entry, page) != 0).count())
        })
        .expect("nobody is stopped")
    }

    /// Counts the other processes that are reserved or live, according to the table.
    pub(crate) fn others(&self) -> u64 {
        let is_there = |&index: &u64| {
            let entry = self.entry(index);
            let runs = [state::RESERVED, state::LIVE].contains(&entry.state.load(Ordering::Acquire));
            runs && entry.id.load(Ordering::Acquire) != u64::from(self.me())
        };
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        (0..top).filter(is_there).count() as u64
    }

    /// Counts, and panics if the lists contradict the descriptors. No other thread may be at work.
    pub(crate) fn census(&self) -> Census {
        self.replay_journal().expect("nobody is stopped");
        let get = |off| self.word(off).load(Ordering::Acquire);
        let mut cells = vec![0; CLASSES];
        let (mut blocks, mut slabs, mut raw) = (0, 0, 0);
        let (mut cold, mut warm, mut accounted) = (0, 0, 0);
        let frontier = get(header!(frontier));
        let mut index = crate::heap::memory::layout::FIRST_CHUNK;
        while index < frontier {
            let (kind, order) = split(get(chunk!(index, state)));
            let span = match kind {
                kind::SLAB => {
                    cells[get(chunk!(index, class)) as usize] += get(chunk!(index, accounted));
                    slabs += 1;
                    1
                }
                kind::USED | kind::RAW => {
                    blocks += 1;
                    raw += u64::from(kind == kind::RAW);
                    accounted += get(chunk!(index, accounted));
                    1 << order
                }
                kind::COLD => {
                    cold += 1;
                    assert_eq!(get(chunk!(index, committed)), 0, "a cold block with memory");
                    1 << order
                }
                kind::WARM => {
                    warm += 1;
                    1 << order
                }
                other => panic!("chunk {index} of {frontier} is of kind {other}"),
            };
            index += span;
        }
        assert_eq!(index, frontier, "blocks reach beyond the frontier");
        assert_eq!(raw, 0, "a block is left half made");
        let length = |mut at: u64| {
            let mut n = 0;
            while at != 0 {
                n += 1;
                assert!(n <= frontier, "a list runs in a circle");
                at = get(chunk!(at - 1, next));
            }
            n
        };
        let listed = |first: fn(u64) -> u64| (0..ORDERS as u64).map(|o| length(get(first(o)))).sum::<u64>();
        assert_eq!(listed(|o| header!(cold[o])), cold, "cold blocks are listed");
        assert_eq!(listed(|o| header!(warm_new[o])), warm, "warm blocks are listed");
        let used_bytes = get(header!(used_bytes));
        assert_eq!(
            used_bytes,
            accounted + slabs * crate::heap::memory::layout::CHUNK,
            "bytes in use add up"
        );
        let top = get(header!(table_top));
        let live: Vec<u64> = (0..top)
            .filter(|&i| get(entry!(i, state)) != state::FREE)
            .collect();
        let references = live.iter().map(|&i| self.count_references(i)).sum();
        Census {
            used_bytes: accounted,
            cells,
            blocks,
            entries: live.len() as u64,
            references,
        }
    }
}
