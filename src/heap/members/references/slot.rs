//! One slot of a page, in a transaction.

use super::page::{BUMP, FREE, PAGE_SLOTS, USED, concern, delist, offer, remove_if_spare};
use crate::heap::memory::layout::{HEAD, Off};
use crate::heap::memory::tx::Tx;

/// A slot of some process's table, within a transaction. Outside of one a slot is known by its number, which a
/// forked child's copy of a handle shares with the parent's: each means the slot of its own process.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(super) entry: u64,
    pub(super) number: u64,
    /// The page; 0: it is one of those that only freeing uses, which have no notes.
    pub(super) page: Off,
    pub(super) at: Off,
}

impl Slot {
    pub(super) fn in_page(entry: u64, number: u64, page: Off) -> Self {
        Self {
            entry,
            number,
            page,
            at: page + HEAD + 16 * (number % PAGE_SLOTS),
        }
    }

    /// Its number.
    pub(in crate::heap) fn number(&self) -> u64 {
        self.number
    }

    /// Fills the slot; it must be one that is free, chosen in the same transaction.
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

    /// Empties the slot, and frees its page where that is not needed any more. Where the page is lent, what was in the slot had
    /// no count, so that no borrower has it.
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

    /// Where its tally is, if it is in a page.
    pub(in crate::heap) fn tally(&self) -> Off {
        self.at + 8
    }

    /// What it holds, 0 if nothing.
    pub(in crate::heap) fn held(&self, tx: &Tx<'_>) -> Off {
        match tx.get(self.at) {
            word if word & 1 == 1 => 0,
            word => word,
        }
    }
}

/// What came of a transaction that needs a free slot.
pub(crate) enum Slotted<T> {
    /// There is none.
    NoSlot,
    /// It was not needed.
    Nothing,
    /// It was filled.
    Done(T),
}

impl<T> Slotted<T> {
    pub(in crate::heap) fn map<U>(self, function: impl FnOnce(T) -> U) -> Slotted<U> {
        match self {
            Self::NoSlot => Slotted::NoSlot,
            Self::Nothing => Slotted::Nothing,
            Self::Done(value) => Slotted::Done(function(value)),
        }
    }
}
