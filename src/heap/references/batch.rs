//! Many slots of a page in one transaction: looked at, copied for a child, taken away from a dead process.

use super::{BATCH, BUMP, FREE, PAGE_SLOTS, Slot, USED, delist, enlist, page_at, remove_if_spare};
use crate::heap::Heap;
use crate::heap::layout::{HEAD, Off};
use crate::heap::tx::Tx;
use crate::wait::atomic::Ordering;

/// Up to [`BATCH`] slots of one page, looked at in a transaction that changes none of them otherwise.
pub(in crate::heap) struct Batch {
    at: Off,
    end: u64,
}

impl Batch {
    /// Those from `start` on of page number `page`; none where there is no such page.
    pub(in crate::heap) fn of(tx: &Tx<'_>, entry: u64, page: u64, start: u64) -> Self {
        let at = page_at(tx, entry, page);
        let end = if at == 0 {
            0
        } else {
            tx.get(at + BUMP).min(start + BATCH)
        };
        Self { at, end }
    }

    /// Behind the last of them.
    pub(in crate::heap) fn end(&self) -> u64 {
        self.end
    }

    /// Where slot number `place` of the page is.
    fn slot(&self, place: u64) -> Off {
        self.at + HEAD + 16 * place
    }

    /// What the slot holds, 0 if nothing.
    pub(in crate::heap) fn held(&self, heap: &Heap, place: u64) -> Off {
        match heap.word(self.slot(place)).load(Ordering::Relaxed) {
            word if word & 1 == 1 => 0,
            word => word,
        }
    }

    /// Where its tally is.
    pub(in crate::heap) fn tally(&self, place: u64) -> Off {
        self.slot(place) + 8
    }
}

/// Takes slots at the end of a page of a dead process's table away, within a transaction. The words of the slots stay as they
/// are: nobody looks behind the page's end.
pub(in crate::heap) struct Cutting {
    entry: u64,
    page: u64,
    at: Off,
    used: u64,
    left: u64,
    bump: u64,
}

impl Cutting {
    /// `None` where there is no such page.
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

    /// The last slot: its number, and what it holds.
    pub(in crate::heap) fn last(&self, heap: &Heap) -> Option<(u64, Off)> {
        let place = self.bump.checked_sub(1)?;
        let batch = Batch {
            at: self.at,
            end: self.bump,
        };
        Some((self.page * PAGE_SLOTS + place, batch.held(heap, place)))
    }

    /// Takes the last slot away, which holds something (to which a reference has been given up) or does not.
    pub(in crate::heap) fn cut(&mut self, held: bool) {
        self.bump -= 1;
        self.left -= u64::from(held);
    }

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

/// Extends a page of an unborn child's table over more slots, within a transaction.
pub(in crate::heap) struct Copy {
    entry: u64,
    page: u64,
    at: Off,
    used: u64,
    free: u64,
    bump: u64,
}

impl Copy {
    /// `None` where there is no such page: it has come about since pages were copied, for something that is being freed.
    pub(in crate::heap) fn begin(tx: &Tx<'_>, entry: u64, page: u64) -> Option<Self> {
        let at = page_at(tx, entry, page);
        if at == 0 {
            return None;
        }
        let [used, free, bump] = [USED, FREE, BUMP].map(|field| tx.get(at + field));
        Some(Self {
            entry,
            page,
            at,
            used,
            free,
            bump,
        })
    }

    /// A slot behind all so far holds `off`; those in between stay free.
    pub(in crate::heap) fn fill(&mut self, tx: &Tx<'_>, place: u64, off: Off) {
        while self.bump < place {
            let free = self.bump;
            self.write(tx, free, self.free << 1 | 1);
            self.free = free + 1;
        }
        self.write(tx, place, off);
        self.used += 1;
    }

    /// Nobody looks here before the transaction is carried out: these words need no journal.
    fn write(&mut self, tx: &Tx<'_>, place: u64, word: u64) {
        let slot = Slot::in_page(self.entry, self.page * PAGE_SLOTS + place, self.at);
        tx.heap().word(slot.at).store(word, Ordering::Relaxed);
        tx.heap().word(slot.tally()).store(0, Ordering::Relaxed);
        self.bump = place + 1;
    }

    pub(in crate::heap) fn end(self, tx: &mut Tx<'_>) {
        for (field, value) in [(USED, self.used), (FREE, self.free), (BUMP, self.bump)] {
            tx.set(self.at + field, value);
        }
        if self.used == PAGE_SLOTS {
            delist(tx, self.entry, self.at);
        }
    }
}
