//! The slots of a process: finding one that is free, and one of a number.

use super::page::{
    BUMP, FREE, MAX_SLOTS, NEXT, PAGE_SLOTS, USED, concern, directory_of, is_borrowed, page_at, seen,
};
use super::slot::{Slot, Slotted};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::layout::{FREEING, HEAD, Off, entry};
use crate::heap::memory::steady::steady;
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;

impl Heap {
    /// Runs `stage` in a transaction, with a free slot of this process, which it may fill. Returns the value of `stage`
    /// and the slot's number, or `None` if `stage` did not fill the slot.
    pub(in crate::heap) fn with_slot<T>(
        &self,
        stage: impl Fn(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Option<(T, u64)>> {
        loop {
            match self.with_spare_slot(&stage)? {
                Slotted::Done(done) => return Ok(Some(done)),
                Slotted::Nothing => return Ok(None),
                Slotted::NoSlot => self.make_slots()?,
            }
        }
    }

    /// Runs a transaction as [`with_slot`](Self::with_slot) does, without making room for more slots. For callers
    /// that hold locks: they release these, call [`make_slots`](Self::make_slots), and try again.
    pub(in crate::heap) fn with_spare_slot<T>(
        &self,
        stage: impl FnOnce(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Slotted<(T, u64)>> {
        self.with_spare_slots(1, stage)
    }

    /// Runs a transaction as [`with_spare_slot`](Self::with_spare_slot) does, if `count` slots are free, the one to
    /// be filled among them.
    pub(in crate::heap) fn with_spare_slots<T>(
        &self,
        count: u64,
        stage: impl FnOnce(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Slotted<(T, u64)>> {
        let _steady = steady();
        let entry = self.my_entry();
        self.transact(|tx| {
            let Some(slot) = Self::free_slot(tx, entry).filter(|_| Self::has_free(tx, entry, count)) else {
                return Ok(Slotted::NoSlot);
            };
            Ok(match stage(tx, &slot)? {
                Some(value) => Slotted::Done((value, slot.number)),
                None => Slotted::Nothing,
            })
        })
    }

    /// Returns the slot that an entry fills next, if one is free.
    pub(in crate::heap) fn free_slot(tx: &Tx<'_>, entry: u64) -> Option<Slot> {
        let page = tx.get(entry!(entry, hold_room)).checked_sub(1)?;
        let at = page_at(tx, entry, page);
        let place = match tx.get(at + FREE) {
            0 => tx.get(at + BUMP),
            free => free - 1,
        };
        Some(Slot::in_page(entry, page * PAGE_SLOTS + place, at))
    }

    /// Returns whether `count` slots of an entry are free.
    pub(super) fn has_free(tx: &Tx<'_>, entry: u64, count: u64) -> bool {
        let (mut free, mut next) = (0, tx.get(entry!(entry, hold_room)));
        while free < count && next != 0 {
            let page = page_at(tx, entry, next - 1);
            free += PAGE_SLOTS - tx.get(page + USED);
            next = tx.get(page + NEXT);
        }
        free >= count
    }

    /// Returns a slot for something that is to be freed. There is one unless very many things are being freed at
    /// once.
    pub(in crate::heap) fn freeing_slot(tx: &Tx<'_>, entry: u64) -> Option<Slot> {
        (0..FREEING as u64)
            .map(|i| Self::reserved(entry, i))
            .find(|slot| tx.get(slot.at) == 0)
            .or_else(|| Self::free_slot(tx, entry))
    }

    /// Returns slot number `i` in an entry itself.
    pub(super) fn reserved(entry: u64, i: u64) -> Slot {
        Slot {
            entry,
            number: MAX_SLOTS + i,
            page: 0,
            at: entry!(entry, freeing) + 8 * i,
        }
    }

    /// Returns the numbers of the slots in an entry itself.
    pub(in crate::heap) fn reserved_numbers() -> core::ops::Range<u64> {
        MAX_SLOTS..MAX_SLOTS + FREEING as u64
    }

    /// Returns the first page of an entry from number `page` on that has a slot in use, or a loan, and the number
    /// of its slots that may be in use.
    pub(in crate::heap) fn next_page(&self, entry: u64, page: u64) -> Result<Option<(u64, u64)>> {
        self.transact(|tx| {
            let end = tx.get(entry!(entry, hold_pages));
            Ok((page..end).find_map(|page| {
                let at = page_at(tx, entry, page);
                let is_it = at != 0 && (tx.get(at + USED) > 0 || concern(tx, at));
                is_it.then(|| (page, tx.get(seen(tx, at) + BUMP)))
            }))
        })
    }

    /// Empties slot `number` of this process.
    pub(crate) fn clear_slot(&self, tx: &mut Tx<'_>, number: u64) {
        if let Some(slot) = Self::slot(tx, self.my_entry(), number) {
            slot.clear(tx);
        }
    }

    /// Returns slot `number` of an entry, if that slot has ever been filled.
    pub(in crate::heap) fn slot(tx: &Tx<'_>, entry: u64, number: u64) -> Option<Slot> {
        if number >= MAX_SLOTS {
            return (number - MAX_SLOTS < FREEING as u64).then(|| Self::reserved(entry, number - MAX_SLOTS));
        }
        let page = page_at(tx, entry, number / PAGE_SLOTS);
        (page != 0 && number % PAGE_SLOTS < tx.get(page + BUMP)).then(|| Slot::in_page(entry, number, page))
    }

    /// Returns the offset of the tally in slot `number` of this process, which is in use.
    pub(in crate::heap) fn tally_at(&self, number: u64) -> Result<Off> {
        let entry = self.my_entry();
        let slot = || Slot::in_page(entry, number, self.page_now(entry, number / PAGE_SLOTS));
        if is_borrowed(self, slot().page) {
            // The page stays where it is; only its loan ends.
            self.settle_page(entry, number / PAGE_SLOTS)?;
        }
        Ok(slot().tally())
    }

    /// Returns the tally in slot `number` of this process, which is in use.
    pub(in crate::heap) fn tally(&self, number: u64) -> i64 {
        let entry = self.my_entry();
        let slot = Slot::in_page(entry, number, self.page_now(entry, number / PAGE_SLOTS));
        if is_borrowed(self, slot.page) {
            return 0;
        }
        self.word(slot.tally()).load(Ordering::Relaxed).cast_signed()
    }

    /// Returns a page of this process in which a slot is in use.
    pub(super) fn page_now(&self, entry: u64, page: u64) -> Off {
        let get = |off| self.word(off).load(Ordering::Relaxed);
        let (directory, word) = directory_of(entry, page);
        get(get(directory) + HEAD + 8 * word)
    }
}
