//! Copying the table of references of this process to an unborn child's, slot for slot.
//!
//! What the child gets is a page for each of ours that holds something, under the same number: first all pages, still empty,
//! so that a want of memory shows before any reference is counted; then what is in them. Full pages are lent, which is one
//! step: see `holds/loans.rs`. Of others the slots are copied, a few dozen in each transaction. The slots' words are written
//! before the transaction that extends the page over them, where nobody looks yet.
//!
//! No thread of this process can fill a slot meanwhile, but objects without references may be freed: those, like memory that
//! is being made or given back, have no count, and the child has no handle to them.

use super::references::{self, BATCH};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::layout::MAX_CELL;

impl Heap {
    /// Sees to it that there are as many free cells as a copy of this process's table needs, if nobody else takes them.
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

    /// Gives the entry `to`, which holds nothing, a reference to everything this process holds, under the same numbers. The
    /// caller keeps other threads from changing what that is. Where there are not enough free cells it answers false, and no
    /// reference has been copied: then it can be called again, also when what is held has changed.
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

    /// Makes an empty page number `page` of an entry exist; false if there is no free cell.
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
