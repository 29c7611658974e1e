//! One slot of a page, in a transaction.

use super::page::{BUMP, FREE, PAGE_SLOTS, USED, concern, delist, offer, remove_if_spare};
use crate::heap::memory::layout::{HEAD, Off};
use crate::heap::memory::tx::Tx;

/// A slot of the table of a process, within a transaction. Outside of transactions a slot is known by its number. A
/// forked child's copy of a handle has the same number as the parent's: each means the slot of its own process.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(super) entry: u64,
    pub(super) number: u64,
    /// The page; 0 for a slot in the entry, which only freeing uses and which has no tally.
    pub(super) page: Off,
    pub(super) at: Off,
}

impl Slot {
    /// Returns slot `number` in its page.
    pub(super) fn in_page(entry: u64, number: u64, page: Off) -> Self {
        Self {
            entry,
            number,
            page,
            at: page + HEAD + 16 * (number % PAGE_SLOTS),
        }
    }

    /// Returns its number.
    pub(in crate::heap) fn number(&self) -> u64 {
        self.number
    }

    /// Fills the slot, which must be free and chosen in the same transaction.
    pub(in crate::heap) fn hold(&self, tx: &mut Tx<'_>, off: Off) {
        if self.page == 0 {
            return tx.set(self.at, off);
        }
        let place = self.number % PAGE_SLOTS;
        if tx.get(self.page + FREE) == place + 1 {
            tx.set(self.page + FREE, tx.get(self.at) >> 1);
        } else {
            tx.set(self.page + BUMP, place + 1);
            tx.set(self.tally(), 0);
        }
        tx.set(self.at, off);
        tx.add(self.page + USED, 1);
        if tx.get(self.page + USED) == PAGE_SLOTS {
            delist(tx, self.entry, self.page);
        }
    }

    /// Empties the slot, and frees its page if that is not needed any more. In a lent page this is done only to a
    /// slot whose object has no count, which no borrower shares.
    pub(crate) fn clear(&self, tx: &mut Tx<'_>) {
        if self.page == 0 {
            return tx.set(self.at, 0);
        }
        if tx.get(self.tally()) != 0 {
            tx.set(self.tally(), 0);
        }
        tx.set(self.at, tx.get(self.page + FREE) << 1 | 1);
        tx.set(self.page + FREE, self.number % PAGE_SLOTS + 1);
        let used = tx.get(self.page + USED);
        tx.set(self.page + USED, used - 1);
        let at_an_end = used == PAGE_SLOTS || used == 1;
        // A page that is lent has no room before it comes back.
        if !at_an_end || concern(tx, self.page) {
            return;
        }
        let number = self.number / PAGE_SLOTS;
        if used == PAGE_SLOTS {
            offer(tx, self.entry, number, self.page);
        }
        if used == 1 {
            remove_if_spare(tx, self.entry, number, self.page);
        }
    }

    /// Returns the offset of its tally, if the slot is in a page.
    pub(in crate::heap) fn tally(&self) -> Off {
        self.at + 8
    }

    /// Returns what it refers to, 0 if nothing.
    pub(in crate::heap) fn held(&self, tx: &Tx<'_>) -> Off {
        match tx.get(self.at) {
            word if word & 1 == 1 => 0,
            word => word,
        }
    }
}

/// The outcome of a transaction that needs a free slot.
pub(crate) enum Slotted<T> {
    /// No slot is free.
    NoSlot,
    /// No slot was needed.
    Nothing,
    /// The slot was filled.
    Done(T),
}

impl<T> Slotted<T> {
    /// Returns the same outcome, with `function` applied to the value of a slot that was filled.
    pub(in crate::heap) fn map<U>(self, function: impl FnOnce(T) -> U) -> Slotted<U> {
        match self {
            Self::NoSlot => Slotted::NoSlot,
            Self::Nothing => Slotted::Nothing,
            Self::Done(value) => Slotted::Done(function(value)),
        }
    }
}
