//! Several slots of a page in one transaction: read, copied for a child, or taken away from a dead process.

use super::page::{BATCH, BUMP, FREE, PAGE_SLOTS, USED, delist, enlist, page_at, remove_if_spare, seen};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::members::head::{refer, uncount};
use crate::heap::memory::layout::{CHUNK, HEAD, Off, REFS, WAITER};
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;
use core::ops::Range;

/// Returns the offset of slot number `place` of the page at `at`.
fn slot(at: Off, place: u64) -> Off {
    at + HEAD + 16 * place
}

/// Returns whether a child gets a reference to an object of this kind with this count. An object that another
/// thread is making or freeing has no count, and no handle in the child. The records of this process's threads are
/// not inherited either, because the threads do not exist in the child.
fn is_inherited(kind: u8, refs: u64) -> bool {
    refs > 0 && kind != WAITER
}

/// Up to [`BATCH`] slots of one page, read in a transaction that does not change them.
pub(in crate::heap) struct Batch {
    at: Off,
    start: u64,
    end: u64,
    /// The page with the tallies. If the page borrows its slots, it has only the first tally, for all.
    notes: Off,
}

impl Batch {
    /// Returns the slots from `start` on of page number `page`; none if there is no such page.
    pub(in crate::heap) fn of(tx: &Tx<'_>, entry: u64, page: u64, start: u64) -> Self {
        let notes = page_at(tx, entry, page);
        if notes == 0 {
            return Self::at(0, start, 0);
        }
        let at = seen(tx, notes);
        let batch = Self::at(at, start, tx.get(at + BUMP));
        Self { notes, ..batch }
    }

    /// Returns the slots from `start` on of the page at `at`, which has `bump`.
    pub(super) fn at(at: Off, start: u64, bump: u64) -> Self {
        Self {
            at,
            start,
            end: bump.min(start + BATCH),
            notes: at,
        }
    }

    /// Returns a batch of the first of them.
    pub(super) fn first(self) -> Self {
        let end = self.end.min(self.start + 1);
        Self { end, ..self }
    }

    /// Returns their places in the page.
    pub(in crate::heap) fn places(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Returns the place after the last of them.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Returns whether the page borrows them.
    pub(super) fn is_borrowed(&self) -> bool {
        self.at != self.notes
    }

    /// Returns what the slot refers to, 0 if nothing.
    fn held(&self, heap: &Heap, place: u64) -> Off {
        match heap.word(slot(self.at, place)).load(Ordering::Relaxed) {
            word if word & 1 == 1 => 0,
            word => word,
        }
    }

    /// Calls `visit` with the place, the offset and the kind for each slot that refers to something with a head;
    /// for a page that borrows, only for what it inherits.
    pub(in crate::heap) fn each(&self, heap: &Heap, mut visit: impl FnMut(u64, Off, u8)) -> Result<()> {
        self.look(heap, |place, off, kind, refs| {
            if !self.is_borrowed() || is_inherited(kind, refs) {
                visit(place, off, kind);
            }
        })
    }

    /// Calls `visit` as [`each`](Self::each) does, for what a child gets a reference to.
    pub(super) fn each_inherited(&self, heap: &Heap, mut visit: impl FnMut(u64, Off)) -> Result<()> {
        self.look(heap, |place, off, kind, refs| {
            if is_inherited(kind, refs) {
                visit(place, off);
            }
        })
    }

    /// Calls `visit` for each slot that refers to something with a head.
    #[inline]
    fn look(&self, heap: &Heap, mut visit: impl FnMut(u64, Off, u8, u64)) -> Result<()> {
        // Neighbours in the table are often neighbours in memory, so a chunk that was checked is not checked again.
        let mut ready = 0;
        for place in self.places() {
            let off = self.held(heap, place);
            if off == 0 {
                continue;
            }
            if off / CHUNK != ready {
                if heap.is_raw_now(off) {
                    continue;
                }
                heap.reach(off, CHUNK - off % CHUNK)?;
                ready = off / CHUNK;
            }
            let (kind, refs) = uncount(heap.word(off + REFS).load(Ordering::Relaxed));
            visit(place, off, kind, refs);
        }
        Ok(())
    }

    /// Returns the offset of the tally of a slot, for clearing up after its process. A page that borrows has no
    /// tallies of its own: its first one is set to zero and stands for all.
    pub(in crate::heap) fn tally(&self, heap: &Heap, place: u64) -> Off {
        if !self.is_borrowed() {
            return slot(self.at, place) + 8;
        }
        let none = slot(self.notes, 0) + 8;
        heap.word(none).store(0, Ordering::Relaxed);
        none
    }
}

/// Takes away slots at the end of a page of a dead process's table, within a transaction. The words of the slots stay
/// as they are: nothing reads after the page's end.
pub(in crate::heap) struct Cutting {
    entry: u64,
    page: u64,
    at: Off,
    used: u64,
    left: u64,
    bump: u64,
}

impl Cutting {
    /// Begins with the last slot of a page; `None` if there is no such page.
    pub(in crate::heap) fn begin(tx: &Tx<'_>, entry: u64, page: u64) -> Option<Self> {
        let at = page_at(tx, entry, page);
        if at == 0 {
            return None;
        }
        let [used, bump] = [USED, BUMP].map(|field| tx.get(at + field));
        Some(Self {
            entry,
            page,
            at,
            used,
            left: used,
            bump,
        })
    }

    /// Returns the number of the last slot, and what it refers to.
    pub(in crate::heap) fn last(&self, heap: &Heap) -> Option<(u64, Off)> {
        let place = self.bump.checked_sub(1)?;
        let held = Batch::at(self.at, place, self.bump).held(heap, place);
        Some((self.page * PAGE_SLOTS + place, held))
    }

    /// Takes the last slot away. `held` says whether it referred to something, whose reference has been given up.
    pub(in crate::heap) fn cut(&mut self, held: bool) {
        self.bump -= 1;
        self.left -= u64::from(held);
    }

    /// Stages the page's head, and frees the page if no slot is left in use.
    pub(in crate::heap) fn end(self, tx: &mut Tx<'_>) {
        tx.set(self.at + BUMP, self.bump);
        tx.set(self.at + FREE, 0);
        tx.set(self.at + USED, self.left);
        if self.used == PAGE_SLOTS && self.left < self.used {
            enlist(tx, self.entry, self.page, self.at);
        }
        if self.left == 0 {
            remove_if_spare(tx, self.entry, self.page, self.at);
        }
    }
}

/// Extends a page of a child's table over more slots, within a transaction.
pub(in crate::heap) struct Copy {
    at: Off,
    used: u64,
    free: u64,
    bump: u64,
}

impl Copy {
    /// Begins after the slots that the page at `at` has.
    pub(super) fn to(tx: &Tx<'_>, at: Off) -> Self {
        let [used, free, bump] = [USED, FREE, BUMP].map(|field| tx.get(at + field));
        Self { at, used, free, bump }
    }

    /// Returns the place after the last slot so far.
    pub(super) fn end(&self) -> u64 {
        self.bump
    }

    /// Adds references to what a child inherits of `from`, under the same numbers.
    pub(super) fn fill_from(&mut self, tx: &mut Tx<'_>, from: &Batch) -> Result<()> {
        from.each_inherited(tx.heap(), |place, off| {
            refer(tx, off);
            self.extend(tx, place);
            self.write(tx, off);
            self.used += 1;
        })
    }

    /// Adds free slots up to `end`.
    pub(super) fn extend(&mut self, tx: &Tx<'_>, end: u64) {
        while self.bump < end {
            let free = self.bump;
            self.write(tx, self.free << 1 | 1);
            self.free = free + 1;
        }
    }

    /// Writes a slot. Nothing reads it before the transaction is carried out, so its words need no journal.
    fn write(&mut self, tx: &Tx<'_>, word: u64) {
        let at = slot(self.at, self.bump);
        tx.heap().word(at).store(word, Ordering::Relaxed);
        tx.heap().word(at + 8).store(0, Ordering::Relaxed);
        self.bump += 1;
    }

    /// Stages the page's head.
    pub(super) fn stage(&self, tx: &mut Tx<'_>) {
        for (field, value) in [(USED, self.used), (FREE, self.free), (BUMP, self.bump)] {
            tx.set(self.at + field, value);
        }
    }
}

/// Copies some slots of page number `page` of an entry to the same page of a child that is about to be forked. The
/// child has no such page if the page was made after the child's, for something that is being freed; then nothing
/// is copied.
pub(in crate::heap) fn copy(tx: &mut Tx<'_>, from: u64, to: u64, page: u64, start: u64) -> Result<()> {
    let at = page_at(tx, to, page);
    if at == 0 {
        return Ok(());
    }
    let mut copy = Copy::to(tx, at);
    copy.fill_from(tx, &Batch::of(tx, from, page, start))?;
    copy.stage(tx);
    if copy.used == PAGE_SLOTS {
        delist(tx, to, at);
    }
    Ok(())
}
