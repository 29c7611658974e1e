//! Surveying the references of all processes, for inspection. It changes nothing, and holds no lock for longer than it
//! takes to read a few hundred words.

use super::head::uncount;
use super::references::{BATCH, PAGE_SLOTS};
use super::table::{CHILD, DAEMON};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::facts::Facts;
use crate::heap::memory::layout::{Off, SERIAL, entry, header, state};
use crate::heap::memory::owners::index_of;
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;

/// One process of the program.
#[derive(Debug)]
pub(crate) struct Resident {
    /// Owner id.
    pub id: u32,
    pub pid: u32,
    /// Owner id of the process that started it.
    pub parent: u32,
    pub name: String,
    pub daemon: bool,
    pub references: Vec<Reference>,
}

/// One reference of a process.
#[derive(Debug)]
pub(crate) struct Reference {
    pub off: Off,
    pub serial: u64,
    /// The count of the object's references, without the borrowed ones.
    pub references: u64,
    /// Whether this reference is borrowed: see `references/loans.rs`.
    pub borrowed: bool,
    /// The tally of the process: its meaning depends on the kind.
    pub tally: i64,
    /// The kind of the object, and its description.
    pub kind: &'static str,
    pub facts: Facts,
}

impl Heap {
    /// Returns every process with its references. Each process is seen at one moment or a few, and not all
    /// processes at the same moment.
    pub(crate) fn survey(&self) -> Result<Vec<Resident>> {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        let mut residents = Vec::new();
        for index in 0..top {
            let (id, lives) = {
                let entry = self.entry(index);
                (
                    entry.id.load(Ordering::Acquire) as u32,
                    entry.state.load(Ordering::Acquire) == state::LIVE,
                )
            };
            if lives && let Some(resident) = self.resident_at(index, id)? {
                residents.push(resident);
            }
        }
        Ok(residents)
    }

    /// Returns the processes that the given ones have started, those that these have started, and so on, without
    /// the given ones.
    pub(crate) fn descendants(&self, of: &[u32]) -> Vec<u32> {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        let related = |index| {
            let entry = self.entry(index);
            let answered_for = entry.flags.load(Ordering::Acquire) & CHILD != 0;
            let lives = matches!(entry.state.load(Ordering::Acquire), state::RESERVED | state::LIVE);
            let [id, parent] = [&entry.id, &entry.parent].map(|word| word.load(Ordering::Acquire) as u32);
            (answered_for && lives).then_some((id, parent))
        };
        let related: Vec<_> = (0..top).filter_map(related).collect();
        let mut family = of.to_vec();
        let mut at = 0;
        while at < family.len() {
            let parent = family[at];
            let children = related.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id);
            let new: Vec<_> = children.filter(|id| !family.contains(id)).collect();
            family.extend(new);
            at += 1;
        }
        family.split_off(of.len())
    }

    /// Returns the process `id` in entry `index`; `None` if the entry is no longer its.
    fn resident_at(&self, index: u64, id: u32) -> Result<Option<Resident>> {
        let mut references = Vec::new();
        let mut next = 0;
        while let Some((page, used)) = self.next_page(index, next)? {
            for start in (0..used).step_by(BATCH as usize) {
                let is_theirs = self.transact(|tx| {
                    // The entry may have become another process's.
                    if tx.get(entry!(index, id)) != u64::from(id) {
                        return Ok(false);
                    }
                    let numbers = page * PAGE_SLOTS + start..page * PAGE_SLOTS + used.min(start + BATCH);
                    references.extend(numbers.filter_map(|number| self.reference_at(tx, index, number)));
                    Ok(true)
                })?;
                if !is_theirs {
                    return Ok(None);
                }
            }
            next = page + 1;
        }
        let entry = self.entry(index);
        Ok(Some(Resident {
            id,
            pid: self.pid_of(id),
            parent: entry.parent.load(Ordering::Relaxed) as u32,
            name: self.name_of(id),
            daemon: entry.flags.load(Ordering::Relaxed) & DAEMON != 0,
            references,
        }))
    }

    /// Returns the reference in a slot, if the slot has one that can be read.
    fn reference_at(&self, tx: &Tx<'_>, index: u64, number: u64) -> Option<Reference> {
        let (off, tally_at) = self.seen_at(tx, index, number).ok()??;
        let (kind, references) = uncount(tx.get(off));
        let kind = self.kind(kind)?;
        let facts = (kind.describe)(self, off);
        let tally = match facts.instead {
            Some((owner, has)) if index_of(owner) == index => has,
            _ => tally_at.map_or(0, |at| tx.get(at).cast_signed()),
        };
        Some(Reference {
            off,
            serial: tx.get(off + SERIAL),
            references,
            borrowed: tally_at.is_none(),
            tally,
            kind: kind.name,
            facts,
        })
    }
}
