//! Copying the table of references of this process to an unborn child's, slot for slot.
//!
//! What the child gets is a page for each of ours that holds something, under the same number: first all pages, still empty,
//! so that a want of memory shows before any reference is counted; then the slots, a few dozen in each transaction. The
//! slots' words are written before the transaction that extends the page over them, where nobody looks yet.
//!
//! No thread of this process can fill a slot meanwhile, but objects without references may be freed: those, like memory that
//! is being made or given back, have no count, and the child has no handle to them.

use super::Heap;
use super::layout::{MAX_CELL, Off, REFS};
use super::object::{refer, uncount};
use super::references::{self, BATCH, Batch};
use super::waiter::WAITER;
use crate::error::Result;
use crate::wait::atomic::Ordering;

impl Heap {
    /// Sees to it that there are as many free cells as a copy of this process's table needs, if nobody else takes them.
    pub(super) fn make_room_for_copy(&self) -> Result<()> {
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
    pub(super) fn copy_references(&self, to: u64) -> Result<bool> {
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
            for start in (0..used).step_by(BATCH as usize) {
                self.copy_slots(from, to, page, start)?;
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

    /// Copies slots of one page, in one transaction.
    fn copy_slots(&self, from: u64, to: u64, page: u64, start: u64) -> Result<()> {
        self.transact(|tx| {
            let Some(mut copy) = references::Copy::begin(tx, to, page) else {
                return Ok(());
            };
            let ours = Batch::of(tx, from, page, start);
            for place in start..ours.end() {
                let off = ours.held(self, place);
                if off != 0 && self.is_counted(off) {
                    refer(tx, off);
                    copy.fill(tx, place, off);
                }
            }
            copy.end(tx);
            Ok(())
        })
    }

    /// Whether what a slot holds is an object that a child gets a reference to. What another thread is making or freeing has
    /// no count, and no handle in the child; nor have the records of this process's threads, which do not exist there.
    fn is_counted(&self, off: Off) -> bool {
        if self.is_raw_now(off) {
            return false;
        }
        let (kind, refs) = uncount(self.word(off + REFS).load(Ordering::Relaxed));
        refs > 0 && kind != WAITER
    }
}
