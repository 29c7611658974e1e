//! The hold table of a process: every object and block that it has a reference to, one slot each.
//!
//! It is what a survivor goes through when the process dies, so an allocation half done, a message half filled and a
//! handle never dropped are all undone the same way: a slot is filled in the transaction that makes or takes the thing,
//! and emptied in the one that passes it on or frees it.
//!
//! Slots are pairs of words in pages of the largest cell, pages are found through directories of the same size. The first
//! word of a free slot is `next free << 1 | 1`, of a filled one an offset (which is even). The second is the *note*: what
//! the object's kind wants known of this process when it dies (permits it has, items it works on). Who made the slot's
//! object writes it, by that kind's own protocol; it is zero in an empty slot, and not inherited by a forked child.

use super::layout::{DIRECTORIES, HEAD, MOST_CELL, Off, PAGE_WORDS, SERIAL, entry, header};
use super::object::Object;
use super::tx::Tx;
use super::{Heap, fork};
use crate::error::{Error, Result};
use crate::wait::atomic::Ordering;

/// The most objects a process can hold.
const MOST: u64 = DIRECTORIES as u64 * PAGE_WORDS * PAGE_SLOTS;
/// Slots in a page.
const PAGE_SLOTS: u64 = PAGE_WORDS / 2;

/// A slot of some process's hold table, within a transaction. Outside of one a slot is known by its number, which a
/// forked child's copy of a handle shares with the parent's: each means the slot of its own process.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    entry: u64,
    number: u64,
    at: Off,
}

impl Slot {
    /// Fills the slot; it must be the one [`Heap::with_slot`] chose in the same transaction.
    pub(super) fn hold(&self, tx: &mut Tx<'_>, off: Off) {
        let free = entry!(self.entry, hold_free);
        if tx.get(free) == self.number + 1 {
            tx.set(free, tx.get(self.at) >> 1);
        } else {
            tx.set(entry!(self.entry, hold_top), self.number + 1);
        }
        tx.set(self.at, off);
        tx.add(entry!(self.entry, holds), 1);
    }

    /// Empties the slot.
    pub(crate) fn clear(&self, tx: &mut Tx<'_>) {
        let free = entry!(self.entry, hold_free);
        if tx.get(self.note()) != 0 {
            tx.set(self.note(), 0);
        }
        tx.set(self.at, tx.get(free) << 1 | 1);
        tx.set(free, self.number + 1);
        tx.add(entry!(self.entry, holds), -1);
    }

    /// Fills a slot at the top of an unborn child's table.
    pub(super) fn fill(&self, tx: &mut Tx<'_>, off: Off) {
        tx.set(self.at, off);
        tx.set(entry!(self.entry, hold_top), self.number + 1);
        tx.add(entry!(self.entry, holds), 1);
    }

    /// Leaves a slot at the top of an unborn child's table free.
    pub(super) fn skip(&self, tx: &mut Tx<'_>) {
        tx.set(entry!(self.entry, hold_top), self.number + 1);
        tx.add(entry!(self.entry, holds), 1);
        self.clear(tx);
    }

    /// Where its note is.
    pub(super) fn note(&self) -> Off {
        self.at + 8
    }

    /// What it holds, 0 if nothing.
    pub(super) fn held(&self, tx: &Tx<'_>) -> Off {
        match tx.get(self.at) {
            word if word & 1 == 1 => 0,
            word => word,
        }
    }
}

/// Words that lead to a slot: the directory's entry in the process table, the page's in the directory, and the slot.
struct Path {
    directory: Off,
    in_directory: u64,
    in_page: u64,
}

fn path(entry: u64, slot: u64) -> Path {
    let (page, in_page) = (slot / PAGE_SLOTS, slot % PAGE_SLOTS);
    let (directory, in_directory) = (page / PAGE_WORDS, page % PAGE_WORDS);
    Path {
        directory: entry!(entry, directory) + 8 * directory,
        in_directory,
        in_page,
    }
}

impl Heap {
    /// Index of this process's entry.
    pub(super) fn my_entry(&self) -> u64 {
        super::table::index_of(self.me())
    }

    /// Runs a transaction that may fill a free slot of this process; gives the slot's number where it answers with a value.
    pub(super) fn with_slot<T>(
        &self,
        stage: impl Fn(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Option<(T, u64)>> {
        let _steady = fork::steady();
        self.with_slot_of(self.my_entry(), stage)
    }

    /// The same without making room for more slots: `None` where there is none free.
    pub(super) fn with_spare_slot<T>(
        &self,
        stage: impl Fn(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Option<(T, u64)>> {
        let _steady = fork::steady();
        Ok(self.attempt(self.my_entry(), &stage)?.ok().flatten())
    }

    /// The same for the process of another entry: a parent fills its unborn child's.
    pub(super) fn with_slot_of<T>(
        &self,
        entry: u64,
        stage: impl Fn(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Option<(T, u64)>> {
        loop {
            match self.attempt(entry, &stage)? {
                Ok(done) => return Ok(done),
                Err(number) => self.add_page(entry, number)?,
            }
        }
    }

    /// One attempt; the inner error is the number of a slot whose page is missing.
    fn attempt<T>(
        &self,
        entry: u64,
        stage: impl Fn(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Result<Option<(T, u64)>, u64>> {
        self.transact(|tx| {
            let number = Self::free_slot(tx, entry);
            match Self::slot(tx, entry, number) {
                Some(slot) => Ok(Ok(stage(tx, &slot)?.map(|value| (value, number)))),
                None => Ok(Err(number)),
            }
        })
    }

    /// Number of the slot an entry fills next.
    pub(super) fn free_slot(tx: &Tx<'_>, entry: u64) -> u64 {
        match tx.get(entry!(entry, hold_free)) {
            0 => tx.get(entry!(entry, hold_top)),
            free => free - 1,
        }
    }

    /// Empties slot `number` of this process.
    pub(crate) fn clear_slot(&self, tx: &mut Tx<'_>, number: u64) {
        if let Some(slot) = Self::slot(tx, self.my_entry(), number) {
            slot.clear(tx);
        }
    }

    /// Slot `number` of an entry, if its page exists.
    pub(super) fn slot(tx: &Tx<'_>, entry: u64, number: u64) -> Option<Slot> {
        if number >= MOST {
            return None;
        }
        let path = path(entry, number);
        let directory = tx.get(path.directory);
        let page = if directory == 0 {
            0
        } else {
            tx.get(directory + HEAD + 8 * path.in_directory)
        };
        (page != 0).then(|| Slot {
            entry,
            number,
            at: page + HEAD + 16 * path.in_page,
        })
    }

    /// Where this process's note on an object is.
    #[inline]
    pub(crate) fn note_of(&self, object: &Object) -> Off {
        object.note(self.me(), || self.note_at(object.slot()))
    }

    /// Where the note in slot `number` of this process is.
    #[inline]
    pub(super) fn note_at(&self, number: u64) -> Off {
        let path = path(self.my_entry(), number);
        let get = |off| self.word(off).load(Ordering::Relaxed);
        let page = get(get(path.directory) + HEAD + 8 * path.in_directory);
        page + HEAD + 16 * path.in_page + 8
    }

    /// Makes the page (and the directory) that slot `number` belongs to.
    pub(super) fn add_page(&self, entry: u64, number: u64) -> Result<()> {
        if number >= MOST {
            return Err(Error::TooManyObjects { max: MOST });
        }
        let path = path(entry, number);
        self.with_zeroed_page(|tx, cell| {
            let made = tx.get(path.directory) == 0;
            if made {
                tx.set(path.directory, cell);
            }
            Ok(made)
        })?;
        self.with_zeroed_page(|tx, cell| {
            let at = tx.get(path.directory) + HEAD + 8 * path.in_directory;
            let made = tx.get(at) == 0;
            if made {
                tx.set(at, cell);
            }
            Ok(made)
        })
    }

    /// Takes a largest cell, has `place` link it, and leaves everything as it was where that is not needed.
    ///
    /// What lies behind the two words of the cell's own list is cleared under the latch, before anybody can see it.
    fn with_zeroed_page(&self, place: impl Fn(&mut Tx<'_>, Off) -> Result<bool>) -> Result<()> {
        self.with_cell(MOST_CELL, |tx, cell| {
            if !place(tx, cell)? {
                return Ok(false);
            }
            // A page is a cell like any other, but nobody refers to it: one reference, the entry's.
            tx.set(cell, 1 << 8);
            tx.set(cell + SERIAL, 0);
            self.clear(cell + 16, MOST_CELL - 16);
            Ok(true)
        })
    }

    /// Frees the pages of an entry that holds nothing any more, in as many transactions as it takes.
    pub(super) fn drop_pages(&self, entry: u64) -> Result<()> {
        for directory in 0..DIRECTORIES as u64 {
            let at = entry!(entry, directory) + 8 * directory;
            for page in 0..PAGE_WORDS {
                let more = self.transact(|tx| {
                    let directory = tx.get(at);
                    let page_at = directory + HEAD + 8 * page;
                    if directory == 0 || tx.get(page_at) == 0 {
                        return Ok(false);
                    }
                    self.free_cell(tx, tx.get(page_at));
                    tx.set(page_at, 0);
                    Ok(true)
                })?;
                // Pages are made in order, so behind the first gap there are none; but a repairer that died here may
                // have left a gap at the front.
                if !more && page > 0 {
                    break;
                }
            }
            self.transact(|tx| {
                match tx.get(at) {
                    0 => {}
                    directory => self.free_cell(tx, directory),
                }
                tx.set(at, 0);
                tx.set(entry!(entry, hold_top), 0);
                tx.set(entry!(entry, hold_free), 0);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// The serial number lives in the header, next to what it numbers.
pub(super) fn next_serial(tx: &mut Tx<'_>) -> u64 {
    tx.add(header!(serial), 1);
    tx.get(header!(serial))
}
