//! Room in the table of references: pages are made where no slot is free, and freed with their entry.

use super::page::{MAX_PAGES, MAX_SLOTS, directory_of, enter_page, own, page_at, remove_page};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::layout::{DIRECTORIES, MAX_CELL, Off, entry};
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;

impl Heap {
    /// Makes room for more slots of this process, where none is free.
    pub(crate) fn make_slots(&self) -> Result<()> {
        self.make_slots_for(1)
    }

    /// Makes room for more slots of this process, until `count` are free.
    pub(crate) fn make_slots_for(&self, count: u64) -> Result<()> {
        let entry = self.my_entry();
        loop {
            let mut full = false;
            self.with_cell(MAX_CELL, |tx, cell| {
                full = !Self::has_free(tx, entry, count);
                if full {
                    let page = Self::free_page(tx, entry)?;
                    self.place_page(tx, entry, page, cell);
                }
                Ok(full)
            })?;
            if !full {
                return Ok(());
            }
        }
    }

    /// Returns the lowest number that no page of an entry has.
    fn free_page(tx: &mut Tx<'_>, entry: u64) -> Result<u64> {
        let hint = tx.get(entry!(entry, hold_hint));
        let page = (hint..MAX_PAGES).find(|&page| page_at(tx, entry, page) == 0);
        let page = page.ok_or(Error::TooManyObjects { max: MAX_SLOTS })?;
        tx.set(entry!(entry, hold_hint), page);
        Ok(page)
    }

    /// Uses a cell for page number `page` of an entry, or for the directory that it needs first.
    pub(in crate::heap) fn place_page(&self, tx: &mut Tx<'_>, entry: u64, page: u64, cell: Off) {
        let (directory, _) = directory_of(entry, page);
        if tx.get(directory) == 0 {
            // Its words are cleared before anybody can see it; the first two are the free cell's own until then.
            self.clear(cell + 16, MAX_CELL - 16);
            own(tx, cell, 0);
            tx.set(directory, cell);
        } else {
            enter_page(tx, entry, page, cell);
        }
    }

    /// Frees the pages of an entry that holds nothing any more.
    pub(in crate::heap) fn drop_pages(&self, entry: u64) -> Result<()> {
        for page in 0..self.word(entry!(entry, hold_pages)).load(Ordering::Acquire) {
            self.transact(|tx| {
                match page_at(tx, entry, page) {
                    0 => {}
                    at => remove_page(tx, entry, page, at),
                }
                Ok(())
            })?;
        }
        self.transact(|tx| {
            for i in 0..DIRECTORIES as u64 {
                let at = entry!(entry, directory) + 8 * i;
                let directory = tx.get(at);
                if directory != 0 {
                    self.free_cell(tx, directory);
                    tx.set(at, 0);
                }
            }
            for field in [
                entry!(entry, hold_pages),
                entry!(entry, hold_room),
                entry!(entry, hold_hint),
            ] {
                tx.set(field, 0);
            }
            Ok(())
        })
    }
}
