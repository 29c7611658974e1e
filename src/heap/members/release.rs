//! Giving up references, those of this process and those of dead ones. With the last reference the object is freed:
//!
//! 1. A transaction gives up the reference. It leaves the object in a slot, with a count of zero. Nothing finds the
//!    object by its address any more.
//! 2. The object is cleared: it gives up what it refers to.
//! 3. A transaction frees the memory and empties the slot.
//!
//! If the process dies on the way, a survivor goes on from the slot. After an error (another process is stopped in the
//! middle of a change, for example) this process goes on itself, when it next gives something up.
//!
//! None of this needs memory. Only the first transaction is run under the guard against forks: a child that is forked
//! later gets no reference to an object that has none.

use super::head::{counted, uncount};
use super::references::{BATCH, Batch, Cutting};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::layout::{MIN_CELL, Off, REFS};
use crate::heap::memory::limit::until;
use crate::heap::memory::postponed::{Postponed, postpone, take_postponed};
use crate::heap::memory::steady::steady;
use crate::heap::memory::tx::Tx;
use crate::os::clock::Deadline;
// This process's own memory: no crash points, no model.

/// The outcome of giving up a reference that was taken from a word.
pub(crate) enum Detached {
    /// There was none.
    Nothing,
    /// The object has other references.
    Shared,
    /// It was the last reference: the object is to be freed.
    Last(Doomed),
}

/// An object without references, to be freed with [`Heap::free_detached`]. If it is dropped instead, it is freed later.
#[must_use]
pub(crate) struct Doomed {
    slot: u64,
}

/// Returns the owner id of this process.
fn own_id() -> u32 {
    Heap::existing().map_or(0, Heap::me)
}

impl Drop for Doomed {
    fn drop(&mut self) {
        postpone(Postponed::Slot(own_id(), self.slot));
    }
}

impl Heap {
    /// Gives up the reference in slot `number` of this process; the object goes if it was the last.
    pub(in crate::heap) fn release(&self, number: u64) {
        let last = {
            let _steady = steady();
            self.give_up(self.my_entry(), number)
        };
        match last {
            Ok(last) => self.free_last(number, last),
            Err(_) => postpone(Postponed::Slot(self.me(), number)),
        }
    }

    /// Frees the object that [`give_up`](Self::give_up) has found to be without references, and what was postponed.
    pub(in crate::heap) fn free_last(&self, number: u64, last: Option<(Off, u8)>) {
        if let Some((off, kind)) = last
            && self.free_held(self.my_entry(), number, off, kind).is_err()
        {
            postpone(Postponed::Slot(self.me(), number));
            return;
        }
        if self.has_postponed() {
            self.catch_up();
        }
    }

    /// Tries again to give up what was postponed, if there is any. For threads that hold no locks and wait for
    /// something.
    pub(crate) fn give_up_postponed(&self) {
        if self.has_postponed() {
            until(Deadline::Now, || self.catch_up());
        }
    }

    /// Tries again what was postponed.
    #[cold]
    pub(in crate::heap) fn catch_up(&self) {
        for what in take_postponed() {
            let done = match what {
                Postponed::Slot(owner, number) if owner == self.me() => {
                    self.release_of(self.my_entry(), number)
                }
                Postponed::Slot(..) => Ok(()),
                Postponed::Handle(off) => self.let_go_unused(off),
            };
            if done.is_err() {
                postpone(what);
            }
        }
    }

    /// Gives up the reference in a slot of any process: a survivor does it for a dead one.
    pub(in crate::heap) fn release_of(&self, entry: u64, number: u64) -> Result<()> {
        match self.give_up(entry, number)? {
            None => Ok(()),
            Some((off, kind)) => self.free_held(entry, number, off, kind),
        }
    }

    /// Gives up the reference in a slot. If it was the last, the object stays in the slot until it is freed, and
    /// its offset and kind are returned.
    pub(in crate::heap) fn give_up(&self, entry: u64, number: u64) -> Result<Option<(Off, u8)>> {
        self.transact_apart(entry, number, |tx, slot| {
            let Some(slot) = slot else {
                return Ok(None);
            };
            let off = slot.held(tx);
            if off == 0 {
                return Ok(None);
            }
            if self.is_raw(tx, off) {
                return Ok(Some((off, 0)));
            }
            self.reach(off, MIN_CELL)?;
            let last = unrefer(tx, off);
            if last.is_none() {
                slot.clear(tx);
            }
            Ok(last.map(|kind| (off, kind)))
        })
    }

    /// Frees an object without references that slot `number` keeps.
    fn free_held(&self, entry: u64, number: u64, off: Off, kind: u8) -> Result<()> {
        if let Some(kind) = self.kind(kind) {
            (kind.clear)(self, off)?;
        }
        let clear = |tx: &mut Tx<'_>| {
            if let Some(slot) = Self::slot(tx, entry, number) {
                slot.clear(tx);
            }
        };
        if let Some(index) = self.own_chunk(off) {
            return self.free_block(index, clear);
        }
        self.transact(|tx| {
            self.free_cell(tx, off);
            clear(tx);
            Ok(())
        })?;
        // A failure only leaves more warm memory than there should be, until the next time.
        let _ = self.trim();
        Ok(())
    }

    /// Runs a transaction that takes a reference from its place to give it up; `stage` names the object. If it was
    /// the last reference, the object is in a slot of this process then. A caller that holds locks frees it after
    /// it has released them.
    pub(crate) fn detach(&self, stage: impl FnOnce(&mut Tx<'_>) -> Result<Option<Off>>) -> Result<Detached> {
        let entry = self.my_entry();
        self.transact(|tx| {
            let Some(off) = stage(tx)? else {
                return Ok(Detached::Nothing);
            };
            if unrefer(tx, off).is_none() {
                return Ok(Detached::Shared);
            }
            let slot = Self::freeing_slot(tx, entry).ok_or(Error::OutOfMemory { requested: 8 })?;
            slot.hold(tx, off);
            Ok(Detached::Last(Doomed { slot: slot.number() }))
        })
    }

    /// Frees what [`detach`](Self::detach) has left to be freed.
    pub(crate) fn free_detached(&self, doomed: Doomed) -> Result<()> {
        let slot = doomed.slot;
        core::mem::forget(doomed);
        let freed = self.release_of(self.my_entry(), slot);
        if freed.is_err() {
            postpone(Postponed::Slot(self.me(), slot));
        }
        freed
    }

    /// Gives up the block or object to which a word of an entry or of another object refers.
    pub(crate) fn drop_reference(&self, field: Off) -> Result<()> {
        let detached = self.detach(|tx| {
            let off = tx.get(field);
            tx.set(field, 0);
            Ok((off != 0).then_some(off))
        })?;
        match detached {
            Detached::Last(doomed) => self.free_detached(doomed),
            Detached::Nothing | Detached::Shared => Ok(()),
        }
    }

    /// Tells the objects to which a dead process referred of its death. If the process that runs this
    /// dies half-way, another one runs it again.
    pub(in crate::heap) fn announce_death(&self, dead: u32, entry: u64) -> Result<()> {
        // Not those in the entry itself: what is being freed has no other user.
        let mut next = 0;
        while let Some((page, used)) = self.next_page(entry, next)? {
            for start in (0..used).step_by(BATCH as usize) {
                self.announce_death_to_some(dead, entry, page, start)?;
            }
            next = page + 1;
        }
        Ok(())
    }

    /// Tells the objects of some slots.
    fn announce_death_to_some(&self, dead: u32, entry: u64, page: u64, start: u64) -> Result<()> {
        let mut found = [(0, 0, 0); BATCH as usize];
        let count = self.transact(|tx| {
            let batch = Batch::of(tx, entry, page, start);
            let mut count = 0;
            batch.each(self, |place, off, kind| {
                found[count] = (off, kind, batch.tally(self, place));
                count += 1;
            })?;
            Ok(count)
        })?;
        for of_one_kind in found[..count].chunk_by(|a, b| a.1 == b.1) {
            if let Some(kind) = self.kind(of_one_kind[0].1) {
                for &(off, _, tally) in of_one_kind {
                    (kind.on_holder_death)(self, off, dead, tally)?;
                }
            }
        }
        Ok(())
    }

    /// Gives up all references of a dead process.
    pub(in crate::heap) fn drop_references(&self, entry: u64) -> Result<()> {
        for number in Self::reserved_numbers() {
            self.release_of(entry, number)?;
        }
        let mut next = 0;
        while let Some((page, _)) = self.next_page(entry, next)? {
            self.return_page(entry, page)?;
            while let Some(last) = self.cut_page(entry, page)? {
                self.release_of(entry, last)?;
            }
            next = page + 1;
        }
        self.drop_pages(entry)
    }

    /// Gives up the references at the end of a page, up to one that has to be given up by itself. Returns the
    /// number of its slot.
    fn cut_page(&self, entry: u64, page: u64) -> Result<Option<u64>> {
        let mut more = true;
        while more {
            let stopped = self.transact(|tx| {
                let Some(mut cutting) = Cutting::begin(tx, entry, page) else {
                    more = false;
                    return Ok(None);
                };
                let mut single = None;
                for _ in 0..BATCH {
                    let Some((number, off)) = cutting.last(self) else {
                        more = false;
                        break;
                    };
                    if off != 0 {
                        let raw = self.is_raw_now(off);
                        if !raw {
                            self.reach(off, MIN_CELL)?;
                        }
                        if raw || uncount(tx.get(off + REFS)).1 <= 1 {
                            single = Some(number);
                            break;
                        }
                        tx.add(off + REFS, -(1 << 8));
                    }
                    cutting.cut(off != 0);
                }
                cutting.end(tx);
                Ok(single)
            })?;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
        Ok(None)
    }
}

/// Stages one reference less. Returns the object's kind if it was the last; then nothing finds the object by its
/// address any more.
fn unrefer(tx: &mut Tx<'_>, off: Off) -> Option<u8> {
    let (kind, refs) = uncount(tx.get(off + REFS));
    tx.set(off + REFS, counted(kind, refs.saturating_sub(1)));
    (refs <= 1).then_some(kind)
}
