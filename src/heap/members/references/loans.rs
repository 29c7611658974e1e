//! Pages that a process and its forked children share: a full page is *lent* to a child instead of being copied.
//!
//! A forked child gets a page of its own for each page of its parent. If the parent's page is full, the child's page
//! stays empty at first and *borrows*: it stands for the same slots. A reference in a lent page is counted once, for
//! the lender, which keeps it for all borrowers. So a fork, and clearing up after a child that has changed nothing,
//! take one step for each page and not one for each slot.
//!
//! Before a slot is changed, on either side, the copying is done that the fork postponed: the borrower's page is
//! filled, 64 slots in a transaction (it still borrows the slots after its end), and with the last of them the loan
//! ends. The page's memory was there from the beginning, so giving something up never needs memory.
//!
//! | the word [`LOANS`] of a page | |
//! | --- | --- |
//! | 0 | an ordinary page |
//! | an offset | it is lent: the first borrower. Borrowers are linked by their [`NEXT`] and [`PREV`] |
//! | an offset, plus one | it borrows from that page, which never borrows itself |
//!
//! What holds while a page is lent (all of it is read and changed under the heap's lock):
//!
//! * No slot is filled, and no slot is emptied whose object has a count: [`Heap::transact_apart`] ensures that. An
//!   object without a count (it is being made or freed) is not shared with a borrower, and may go. It gets its count
//!   through `transact_apart`, too.
//! * Neither the lender nor a borrower is in the list of pages with room.
//! * The tallies in it are the lender's. A borrower has none: to write a tally, it ends the loan first. So tallies,
//!   whose offsets are known elsewhere, never move.
//!
//! | step, each of them a transaction | a death here leaves |
//! | --- | --- |
//! | lend: the child's page, empty until then, is linked | the loan, which clearing up after either process ends |
//! | copy some slots: their references are counted | a page that has these slots, and borrows the others |
//! | copy the last, and end the loan | two ordinary pages |
//! | the borrower is dead: end the loan | a page with the slots copied so far, which is given up like any other |
//!
//! Clearing up after a dead lender first does the copying, as a change by the lender would.

use super::batch::{Batch, Copy};
use super::page::{
    BUMP, LOANS, MAX_SLOTS, NEXT, PAGE_SLOTS, PREV, USED, concern, delist, enlist, lender, offer, page_at,
    remove_if_spare, seen,
};
use super::slot::Slot;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::layout::{Off, SERIAL, entry, state};
use crate::heap::memory::tx::Tx;

/// Makes `borrower`, which is empty and in no list, borrow from `page`.
fn link(tx: &mut Tx<'_>, page: Off, borrower: Off) {
    let first = tx.get(page + LOANS);
    tx.set(borrower + NEXT, first);
    tx.set(borrower + PREV, 0);
    if first != 0 {
        tx.set(first + PREV, borrower);
    }
    tx.set(page + LOANS, borrower);
    tx.set(borrower + LOANS, page | 1);
}

/// Ends the loan of a page that borrows.
fn unlink(tx: &mut Tx<'_>, borrower: Off) {
    let Some(page) = lender(tx.get(borrower + LOANS)) else {
        return;
    };
    let (next, prev) = (tx.get(borrower + NEXT), tx.get(borrower + PREV));
    match prev {
        0 => tx.set(page + LOANS, next),
        p => tx.set(p + NEXT, next),
    }
    if next != 0 {
        tx.set(next + PREV, prev);
    }
    tx.set(borrower + LOANS, 0);
    list(tx, borrower);
    if tx.get(page + LOANS) == 0 {
        list(tx, page);
    }
}

/// Puts an ordinary page that is in no list into that of those with room, if it has room.
fn list(tx: &mut Tx<'_>, page: Off) {
    let used = tx.get(page + USED);
    if used == PAGE_SLOTS {
        return;
    }
    let whose = tx.get(page + SERIAL);
    let (entry, number) = (whose >> 32, whose & 0xffff_ffff);
    if tx.get(entry!(entry, state)) == state::RESERVED {
        // A process that forks may still be filling this table: pages that are empty now will be filled.
        return enlist(tx, entry, number, page);
    }
    offer(tx, entry, number, page);
    if used == 0 {
        remove_if_spare(tx, entry, number, page);
    }
}

/// Copies some slots to a page that borrows, and ends the loan with the last of them.
fn copy_some(tx: &mut Tx<'_>, borrower: Off) -> Result<()> {
    let mut copy = Copy::to(tx, borrower);
    let from = Batch::at(seen(tx, borrower), copy.end(), PAGE_SLOTS);
    copy.fill_from(tx, &from)?;
    copy.extend(tx, from.end());
    copy.stage(tx);
    if from.end() == PAGE_SLOTS {
        unlink(tx, borrower);
    }
    Ok(())
}

impl Heap {
    /// Lends page number `page` of an entry to a child's page of that number, which is empty. Returns false if the
    /// page is to be copied instead.
    pub(in crate::heap) fn lend(&self, from: u64, to: u64, page: u64) -> Result<bool> {
        self.transact(|tx| {
            let (ours, theirs) = (page_at(tx, from, page), page_at(tx, to, page));
            if ours == 0 || theirs == 0 {
                return Ok(false);
            }
            if !concern(tx, ours) && tx.get(ours + USED) < PAGE_SLOTS {
                return Ok(false);
            }
            delist(tx, to, theirs);
            let lender = seen(tx, ours);
            link(tx, lender, theirs);
            Ok(true)
        })
    }

    /// Returns what slot `number` of an entry refers to, if that has a head that can be read, and the offset of the
    /// tally; no tally if the slot is borrowed.
    pub(in crate::heap) fn seen_at(
        &self,
        tx: &Tx<'_>,
        entry: u64,
        number: u64,
    ) -> Result<Option<(Off, Option<Off>)>> {
        let (page, place) = (page_at(tx, entry, number / PAGE_SLOTS), number % PAGE_SLOTS);
        if page == 0 {
            return Ok(None);
        }
        let is_own = place < tx.get(page + BUMP);
        let mut found = None;
        let one = Batch::of(tx, entry, number / PAGE_SLOTS, place).first();
        one.each(self, |_, off, _| {
            let note = is_own.then(|| Slot::in_page(entry, number, page).tally());
            found = Some((off, note));
        })?;
        Ok(found)
    }

    /// Counts what an entry borrows in a page, and panics if the two pages contradict each other; `None` if the
    /// page does not borrow.
    #[cfg(all(test, not(loom)))]
    pub(super) fn count_borrowed(&self, tx: &Tx<'_>, page: Off) -> Option<u64> {
        let from = lender(tx.get(page + LOANS))?;
        assert!(
            lender(tx.get(from + LOANS)).is_none(),
            "a page lends what it borrows"
        );
        let mut next = tx.get(from + LOANS);
        let mut passed = 0;
        while next != page {
            assert_ne!(next, 0, "the lender knows each borrower");
            passed += 1;
            assert!(
                passed < crate::heap::memory::layout::PROCESSES,
                "a list runs in a circle"
            );
            next = tx.get(next + NEXT);
        }
        assert_eq!(tx.get(from + BUMP), PAGE_SLOTS, "only full pages are lent");
        let mut count = 0;
        for start in (0..PAGE_SLOTS).step_by(super::BATCH as usize) {
            let batch = Batch::at(from, start, PAGE_SLOTS);
            let counted = batch.each_inherited(self, |_, _| count += 1);
            counted.expect("memory");
        }
        Some(count)
    }

    /// Runs a transaction that changes a slot in whose page no loan is left: loans of the page are ended first.
    #[inline]
    pub(in crate::heap) fn transact_apart<T>(
        &self,
        entry: u64,
        number: u64,
        stage: impl Fn(&mut Tx<'_>, Option<Slot>) -> Result<T>,
    ) -> Result<T> {
        loop {
            let done = self.transact(|tx| {
                let slot = Self::slot(tx, entry, number);
                let is_apart = match &slot {
                    Some(slot) => slot.page == 0 || !concern(tx, slot.page),
                    // A page that borrows has no slots of its own, or not all yet.
                    None => !Self::is_lacking(tx, entry, number),
                };
                if is_apart {
                    stage(tx, slot).map(Some)
                } else {
                    Ok(None)
                }
            })?;
            match done {
                Some(done) => return Ok(done),
                None => self.settle_page(entry, number / PAGE_SLOTS)?,
            }
        }
    }

    /// Returns whether there is no slot of this number only because its page borrows.
    #[cold]
    fn is_lacking(tx: &Tx<'_>, entry: u64, number: u64) -> bool {
        let page = page_at(tx, entry, number / PAGE_SLOTS);
        number < MAX_SLOTS && page != 0 && concern(tx, page)
    }

    /// Ends the loans of page number `page` of an entry, by copying: every process keeps what was shared.
    #[cold]
    pub(super) fn settle_page(&self, entry: u64, page: u64) -> Result<()> {
        self.end_loans(entry, page, copy_some)
    }

    /// Ends the loans of a page of a dead process, which need not keep what it borrows.
    pub(in crate::heap) fn return_page(&self, entry: u64, page: u64) -> Result<()> {
        self.end_loans(entry, page, |tx, borrower| {
            unlink(tx, borrower);
            Ok(())
        })
    }

    /// Does some of the steps that end the loans of a page of this process.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn settle_some(&self, page: u64, steps: u64) {
        for _ in 0..steps {
            let went_on = self.transact(|tx| Self::end_some(tx, self.my_entry(), page, copy_some));
            assert!(went_on.expect("memory"), "there is no loan");
        }
    }

    /// Ends all loans that concern pages of this process.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn end_own_loans(&self) {
        let entry = self.my_entry();
        for page in 0..self
            .word(entry!(entry, hold_pages))
            .load(crate::wait::atomic::Ordering::Acquire)
        {
            self.settle_page(entry, page).expect("memory");
        }
    }

    /// Returns whether this process has the reference that a handle stands for, borrowed or not.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn refers_to(&self, object: &crate::heap::members::object::Object) -> bool {
        let seen = self.transact(|tx| self.seen_at(tx, self.my_entry(), object.slot()));
        seen.expect("memory").is_some_and(|(off, _)| off == object.off())
    }

    /// Returns the number of the page in which this process has an object.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn page_of(object: &crate::heap::members::object::Object) -> u64 {
        object.slot() / PAGE_SLOTS
    }

    /// Returns whether a page of this process borrows (true) or is lent (false); `None` for an ordinary one.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn loan(&self, page: u64) -> Option<bool> {
        let page = self.page_now(self.my_entry(), page);
        match self
            .word(page + LOANS)
            .load(crate::wait::atomic::Ordering::Acquire)
        {
            0 => None,
            word => Some(lender(word).is_some()),
        }
    }

    /// Ends the loans of a page. Where the page itself borrows, `borrows` does it.
    fn end_loans(
        &self,
        entry: u64,
        page: u64,
        borrows: impl Fn(&mut Tx<'_>, Off) -> Result<()>,
    ) -> Result<()> {
        while self.transact(|tx| Self::end_some(tx, entry, page, &borrows))? {}
        Ok(())
    }

    /// Does one step of ending the loans of a page. Returns false if there is nothing to be done.
    fn end_some(
        tx: &mut Tx<'_>,
        entry: u64,
        page: u64,
        borrows: impl Fn(&mut Tx<'_>, Off) -> Result<()>,
    ) -> Result<bool> {
        let at = page_at(tx, entry, page);
        if at == 0 {
            return Ok(false);
        }
        match tx.get(at + LOANS) {
            0 => return Ok(false),
            loans if lender(loans).is_some() => borrows(tx, at)?,
            first => copy_some(tx, first)?,
        }
        Ok(true)
    }
}
