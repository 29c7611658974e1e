//! Copying the table of references of this process to that of a child which is about to be forked, slot for slot.
//!
//! The child gets a page for each page of this process that has a reference, under the same number:
//!
//! 1. All pages are made, empty. A lack of memory shows here, before any reference is counted.
//! 2. Full pages are lent, each in one transaction: see `references/loans.rs`.
//! 3. Of the other pages the slots are copied, 64 in a transaction. The words of the slots are written before the
//!    transaction that extends the page over them; until then nothing reads them.
//!
//! No thread of this process can fill a slot meanwhile. Objects without references may be freed: like memory that is
//! being made or given back they have no count, and the child has no handle to them.

use super::references::{self, BATCH};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::layout::MAX_CELL;

impl Heap {
    /// Ensures that there are enough free cells for a copy of this process's table, unless another process takes
    /// them.
    pub(in crate::heap) fn make_room_for_copy(&self) -> Result<()> {
        let from = self.my_entry();
        let (mut pages, mut next) = (0, 0);
        while let Some((page, _)) = self.next_page(from, next)? {
            pages += 1;
            next = page + 1;
        }
        let needed = pages + references::directories(next);
        if needed == 0 {
            return Ok(());
        }
        self.make_cells(MAX_CELL, needed)
    }

    /// Gives the entry `to`, which has no references, a reference to everything that this process refers to, under
    /// the same numbers. The caller keeps other threads from changing the references. If there are not enough free
    /// cells it returns false, and no reference has been copied; then it can be called again, also when the
    /// references have changed.
    pub(in crate::heap) fn copy_references(&self, to: u64) -> Result<bool> {
        let from = self.my_entry();
        let mut next = 0;
        while let Some((page, _)) = self.next_page(from, next)? {
            if !self.copy_page(to, page)? {
                return Ok(false);
            }
            next = page + 1;
        }
        next = 0;
        while let Some((page, used)) = self.next_page(from, next)? {
            if !self.lend(from, to, page)? {
                for start in (0..used).step_by(BATCH as usize) {
                    self.transact(|tx| references::copy(tx, from, to, page, start))?;
                }
            }
            next = page + 1;
        }
        Ok(true)
    }

    /// Makes an empty page number `page` of an entry exist. Returns false if there is no free cell.
    fn copy_page(&self, to: u64, page: u64) -> Result<bool> {
        self.transact(|tx| {
            while references::page_at(tx, to, page) == 0 {
                let found = self.with_spare_cell(tx, MAX_CELL, |tx, cell| {
                    self.place_page(tx, to, page, cell);
                    Ok(true)
                })?;
                if !found {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}
