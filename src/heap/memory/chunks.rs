//! Large blocks: powers of two of 64 KiB chunks (a buddy system), of which only the part in use has memory.
//!
//! A freed block stays *warm*: its memory is kept, because a fresh page costs a hundred times as much as a used one.
//! Warm blocks are handed out first, the last freed one first. Warm memory is bounded by the memory in use plus
//! [`SPARE`] and the [`DEMAND`]. Beyond that, the block that has been unused for longest gives its memory back and
//! joins its neighbours in the *cold* lists. Address space is plentiful, so rounding sizes up to a power of two costs
//! nothing: only the part that is asked for gets memory.

use super::heap::Heap;
use super::layout::{CHUNK, FIRST_CHUNK, ORDERS, Off, chunk, header, kind};
use super::paging::before_paging;
use super::steady::makes_child;
use super::tx::Tx;
use crate::error::{Error, Result};
use crate::os::memory;
use crate::wait::atomic::Ordering;

/// Bytes of freed memory that are always kept.
pub(in crate::heap) const SPARE: u64 = 12 << 20;
/// The most that is kept beyond that because it is likely to be taken again soon.
///
/// The *demand* grows by the bytes taken (twice those if they were warm), and shrinks by the bytes freed. So a stream
/// of blocks, in which one is taken for each that is freed, keeps the memory by which it swings; a burst that is
/// drained keeps nothing.
const DEMAND: u64 = 128 << 20;
/// The least part of a block that is worth keeping.
const MIN_KEPT: u64 = 1 << 20;

/// Bytes of memory, and of the heap's end, that only forks may use, for the child's table of references: a fork cannot
/// be refused.
const FOR_FORKS: u64 = 1 << 20;

/// A block taken from the lists: its first chunk's index.
#[derive(Clone, Copy)]
pub(in crate::heap) struct TakenRun {
    pub index: u64,
}

/// What becomes of a block that is freed.
enum Fate {
    Warm,
    /// Of its `committed` bytes, the first `kept` are kept; none if it goes cold.
    Shorten {
        kept: u64,
        committed: u64,
    },
}

/// Returns the order of the smallest block that holds `bytes`.
pub(in crate::heap) fn order_of(bytes: u64) -> u64 {
    u64::from(bytes.div_ceil(CHUNK).next_power_of_two().trailing_zeros())
}

/// Returns the state word of a descriptor.
fn state(kind: u64, order: u64) -> u64 {
    kind | order << 8
}

/// Returns kind and order of a descriptor's state word.
pub(in crate::heap) fn split(state: u64) -> (u64, u64) {
    (state & 0xff, state >> 8)
}

/// The lists of free blocks.
#[derive(Clone, Copy)]
enum List {
    Cold,
    Warm,
}

/// Returns the header word at which a list begins.
fn first(list: List, order: u64) -> Off {
    match list {
        List::Cold => header!(cold[order]),
        List::Warm => header!(warm_new[order]),
    }
}

/// Puts a block at the front of a list.
fn link(tx: &mut Tx<'_>, list: List, order: u64, index: u64) {
    let old = tx.get(first(list, order));
    tx.set(chunk!(index, next), old);
    tx.set(chunk!(index, prev), 0);
    if old != 0 {
        tx.set(chunk!(old - 1, prev), index + 1);
    } else if let List::Warm = list {
        tx.set(header!(warm_old[order]), index + 1);
    }
    tx.set(first(list, order), index + 1);
}

/// Takes a block out of its list.
fn unlink(tx: &mut Tx<'_>, list: List, order: u64, index: u64) {
    let (next, prev) = (tx.get(chunk!(index, next)), tx.get(chunk!(index, prev)));
    match prev {
        0 => tx.set(first(list, order), next),
        p => tx.set(chunk!(p - 1, next), next),
    }
    if next != 0 {
        tx.set(chunk!(next - 1, prev), prev);
    } else if let List::Warm = list {
        tx.set(header!(warm_old[order]), prev);
    }
}

/// Joins a block with its free neighbours and puts it into the cold lists.
fn insert_cold(tx: &mut Tx<'_>, mut index: u64, mut order: u64) {
    while order + 1 < ORDERS as u64 {
        let buddy = index ^ 1 << order;
        if buddy >= tx.get(header!(frontier)) || tx.get(chunk!(buddy, state)) != state(kind::COLD, order) {
            break;
        }
        unlink(tx, List::Cold, order, buddy);
        // A chunk that no longer begins a block must not look as if it did.
        tx.set(chunk!(index.max(buddy), state), 0);
        index = index.min(buddy);
        order += 1;
    }
    tx.set(chunk!(index, state), state(kind::COLD, order));
    tx.set(chunk!(index, committed), 0);
    link(tx, List::Cold, order, index);
}

/// Takes a cold block of `order`, splitting a larger one where needed.
fn take_cold(tx: &mut Tx<'_>, order: u64) -> Option<u64> {
    let from = (order..ORDERS as u64).find(|&o| tx.get(header!(cold[o])) != 0)?;
    let index = tx.get(header!(cold[from])) - 1;
    unlink(tx, List::Cold, from, index);
    for half in (order..from).rev() {
        let upper = index + (1 << half);
        tx.set(chunk!(upper, state), state(kind::COLD, half));
        tx.set(chunk!(upper, committed), 0);
        link(tx, List::Cold, half, upper);
    }
    Some(index)
}

/// Takes chunks that were never used; those skipped to align the block become cold blocks.
fn take_new(tx: &mut Tx<'_>, order: u64, chunks: u64) -> Option<u64> {
    let frontier = tx.get(header!(frontier));
    let index = frontier.next_multiple_of(1 << order);
    if index + (1 << order) > chunks {
        return None;
    }
    tx.set(header!(frontier), index + (1 << order));
    let mut gap = frontier;
    while gap < index {
        let piece = u64::from(gap.trailing_zeros()).min(u64::from((index - gap).ilog2()));
        insert_cold(tx, gap, piece);
        gap += 1 << piece;
    }
    Some(index)
}

impl Heap {
    /// Returns the offset of chunk `index`.
    #[allow(clippy::unused_self, reason = "it reads as a question to the heap")]
    pub(in crate::heap) fn chunk_at(&self, index: u64) -> Off {
        index * CHUNK
    }

    /// Returns the index of the chunk that `off` lies in; `None` if that chunk was never used.
    pub(in crate::heap) fn chunk_of(&self, off: Off) -> Option<u64> {
        let index = off / CHUNK;
        (index >= FIRST_CHUNK && index < self.header().frontier.load(Ordering::Acquire)).then_some(index)
    }

    /// Returns the chunk whose block starts at `off`; `None` for a cell.
    pub(in crate::heap) fn own_chunk(&self, off: Off) -> Option<u64> {
        let index = self.chunk_of(off)?;
        let kind = split(self.word(chunk!(index, state)).load(Ordering::Acquire)).0;
        (kind != kind::SLAB).then_some(index)
    }

    /// Ensures that this process can touch all of the object or block at `off`, before it refers to it.
    pub(in crate::heap) fn reach_whole(&self, tx: &Tx<'_>, off: Off) -> Result<()> {
        // A cell lies inside a chunk. A block begins at a chunk, and ends where its memory does.
        let len = match self.chunk_of(off) {
            Some(index) if off == self.chunk_at(index) => tx.get(chunk!(index, committed)),
            _ => 0,
        };
        self.reach(off, len.max(CHUNK - off % CHUNK))
    }

    /// Returns whether `off` is a raw block, whose memory must not be touched.
    pub(in crate::heap) fn is_raw(&self, tx: &Tx<'_>, off: Off) -> bool {
        self.chunk_of(off)
            .is_some_and(|index| split(tx.get(chunk!(index, state))).0 == kind::RAW)
    }

    /// Returns, as [`is_raw`](Self::is_raw), whether `off` is a raw block, within a transaction that has not
    /// changed what `off` is.
    pub(in crate::heap) fn is_raw_now(&self, off: Off) -> bool {
        self.chunk_of(off).is_some_and(|index| {
            let state = self.word(chunk!(index, state)).load(Ordering::Acquire);
            split(state).0 == kind::RAW
        })
    }

    /// Returns whether an object can be at `off`: in a slab, or at the start of a block in use. Its head can be
    /// read then.
    pub(in crate::heap) fn is_in_use(&self, tx: &Tx<'_>, off: Off) -> bool {
        self.chunk_of(off)
            .is_some_and(|index| match split(tx.get(chunk!(index, state))).0 {
                kind::SLAB => true,
                kind::USED => off == self.chunk_at(index),
                _ => false,
            })
    }

    /// Takes a block for `bytes` within a transaction; it is [`kind::RAW`] until
    /// [`mark_used`](Self::mark_used).
    pub(in crate::heap) fn take(&self, tx: &mut Tx<'_>, bytes: u64) -> Result<TakenRun> {
        let order = order_of(bytes);
        // An error now is better than the kernel's out-of-memory killer later.
        let spared = if makes_child() { 0 } else { FOR_FORKS };
        let limit = self.header().limit.load(Ordering::Relaxed).saturating_sub(spared);
        let warm = tx.get(header!(warm_new[order]));
        if warm == 0 && tx.get(header!(used_bytes)) + tx.get(header!(warm_bytes)) + bytes > limit {
            return Err(Error::OutOfMemory { requested: bytes });
        }
        let index = if warm != 0 {
            unlink(tx, List::Warm, order, warm - 1);
            tx.add(header!(warm_bytes), -(tx.get(chunk!(warm - 1, committed)) as i64));
            warm - 1
        } else {
            let chunks = self.header().chunks.load(Ordering::Relaxed) - spared / CHUNK;
            let found = take_cold(tx, order).or_else(|| take_new(tx, order, chunks));
            found.ok_or(Error::OutOfMemory { requested: bytes })?
        };
        let accounted = bytes
            .next_multiple_of(memory::page())
            .max(tx.get(chunk!(index, committed)));
        tx.set(chunk!(index, accounted), accounted);
        tx.add(header!(used_bytes), accounted as i64);
        let weight = if warm == 0 { 1 } else { 2 };
        let demand = (tx.get(header!(demand)) + weight * accounted).min(DEMAND);
        tx.set(header!(demand), demand);
        tx.set(chunk!(index, state), state(kind::RAW, order));
        Ok(TakenRun { index })
    }

    /// Makes descriptors exist for whatever [`take`](Self::take) may hand out for `bytes`, or refuses what cannot fit.
    pub(in crate::heap) fn prepare(&self, bytes: u64) -> Result<()> {
        let most = self.largest() + super::layout::HEAD;
        if bytes > most {
            return Err(Error::TooLarge {
                len: bytes,
                max: most,
            });
        }
        // The block lies below the frontier, or is the next aligned one above it, so it ends within two spans from
        // there. The third span is for a process that takes a block first.
        let span = 1 << order_of(bytes);
        let reach = self.header().frontier.load(Ordering::Acquire) + 64 + 3 * span;
        self.describe(reach.min(self.header().chunks.load(Ordering::Relaxed)))
    }

    /// Commits the first `bytes` of a block that was taken. It stays raw until a transaction says what it is.
    pub(in crate::heap) fn commit(&self, taken: TakenRun, bytes: u64) -> Result<()> {
        let committed = self.word(chunk!(taken.index, committed));
        let (have, want) = (
            committed.load(Ordering::Relaxed),
            bytes.next_multiple_of(memory::page()),
        );
        if have < want {
            before_paging();
            self.commit_at(self.chunk_at(taken.index) + have, want - have)?;
            committed.store(want, Ordering::Release);
        }
        Ok(())
    }

    /// Stages that a raw block is in use.
    pub(in crate::heap) fn mark_used(tx: &mut Tx<'_>, taken: TakenRun) {
        let at = chunk!(taken.index, state);
        tx.set(at, state(kind::USED, split(tx.get(at)).1));
    }

    /// Frees a block in the transaction that `then` adds to: the block becomes warm if there is room among the
    /// warm, else its memory goes back to the system first.
    pub(in crate::heap) fn free_block(&self, index: u64, then: impl Fn(&mut Tx<'_>)) -> Result<()> {
        let fate = self.transact(|tx| {
            let (kind, order) = split(tx.get(chunk!(index, state)));
            let (committed, accounted) = (tx.get(chunk!(index, committed)), tx.get(chunk!(index, accounted)));
            // A block left half ready by a death may have memory that is not counted yet: it goes back.
            let demand = tx.get(header!(demand)).saturating_sub(accounted);
            tx.set(header!(demand), demand);
            let room = SPARE + demand + tx.get(header!(used_bytes)).saturating_sub(accounted);
            if kind == kind::RAW || committed > room {
                tx.set(chunk!(index, state), state(kind::RAW, order));
                let kept = if kind == kind::RAW {
                    0
                } else {
                    room / MIN_KEPT * MIN_KEPT
                };
                return Ok(Fate::Shorten { kept, committed });
            }
            tx.add(header!(used_bytes), -(accounted as i64));
            make_warm(tx, index, order, committed);
            then(tx);
            Ok(Fate::Warm)
        })?;
        match fate {
            Fate::Warm => {}
            Fate::Shorten { kept: 0, .. } => self.cool(index, then)?,
            Fate::Shorten { kept, committed } => self.shorten(index, kept, committed, then)?,
        }
        // The block is free already, and its slot may hold something else. A failure here only leaves more warm memory
        // than there should be.
        let _ = self.trim();
        Ok(())
    }

    /// Gives the memory of a raw block back except for its beginning, and makes the block warm.
    fn shorten(&self, index: u64, kept: u64, committed: u64, then: impl Fn(&mut Tx<'_>)) -> Result<()> {
        before_paging();
        self.give_up_pages(self.chunk_at(index) + kept, committed - kept)?;
        self.transact(|tx| {
            tx.add(header!(used_bytes), -(tx.get(chunk!(index, accounted)) as i64));
            tx.set(chunk!(index, committed), kept);
            make_warm(tx, index, split(tx.get(chunk!(index, state))).1, kept);
            then(tx);
            Ok(())
        })
    }

    /// Gives the memory of a raw block back and makes the block cold.
    pub(in crate::heap) fn cool(&self, index: u64, then: impl Fn(&mut Tx<'_>)) -> Result<()> {
        let get = |off| self.word(off).load(Ordering::Relaxed);
        let order = split(get(chunk!(index, state))).1;
        // Memory that a process was committing when it died is accounted for, but not recorded as committed.
        let pages = get(chunk!(index, committed)).max(get(chunk!(index, accounted)));
        before_paging();
        self.give_up_pages(self.chunk_at(index), pages.min(CHUNK << order))?;
        self.transact(|tx| {
            tx.add(header!(used_bytes), -(tx.get(chunk!(index, accounted)) as i64));
            insert_cold(tx, index, order);
            then(tx);
            Ok(())
        })
    }
}

/// Puts a block among the warm.
pub(in crate::heap) fn make_warm(tx: &mut Tx<'_>, index: u64, order: u64, committed: u64) {
    tx.add(header!(tick), 1);
    tx.set(chunk!(index, stamp), tx.get(header!(tick)));
    tx.add(header!(warm_bytes), committed as i64);
    tx.set(chunk!(index, state), state(kind::WARM, order));
    link(tx, List::Warm, order, index);
}

/// Takes the warm block that has been unused for longest out of its list, and makes it raw.
pub(in crate::heap) fn take_oldest(tx: &mut Tx<'_>) -> Option<u64> {
    let (order, index) = (0..ORDERS as u64)
        .filter_map(|order| {
            tx.get(header!(warm_old[order]))
                .checked_sub(1)
                .map(|index| (order, index))
        })
        .min_by_key(|&(_, index)| tx.get(chunk!(index, stamp)))?;
    unlink(tx, List::Warm, order, index);
    let committed = tx.get(chunk!(index, committed));
    tx.add(header!(warm_bytes), -(committed as i64));
    tx.set(chunk!(index, accounted), 0);
    tx.set(chunk!(index, state), state(kind::RAW, order));
    Some(index)
}
