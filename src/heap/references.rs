//! The table of references of a process: every object and block that it refers to, one slot each.
//!
//! It is what a survivor goes through when the process dies, so an allocation half done, a message half filled and a
//! handle never dropped are all undone the same way: a slot is filled in the transaction that makes or takes the thing,
//! and emptied in the one that passes it on or frees it.
//!
//! Slots are pairs of words in pages, which are largest cells; pages are found by number through directories of the same
//! size. A page's head counts its slots in use, and begins the list of those that are free again; pages with a free slot are
//! in a list of the process's. A page without a slot in use is freed, unless it is the only one with room. So the table is
//! as large as what is held, and going through it takes as long.
//!
//! The first word of a free slot is `next free << 1 | 1`, of a filled one an offset (which is even). The second is the
//! *tally*: what the object's kind wants known of this process when it dies (permits it has, items it works on). Who made the
//! slot's object writes it, by that kind's own protocol; it is zero in an empty slot, and not inherited by a forked child.
//!
//! A forked child shares the pages of its parent's that are full, until one of them changes something there: see [`loans`].
//!
//! Behind the numbers of all pages come those of a few slots in the process's entry itself, which only freeing uses: what is
//! given up for good passes through one of them, so that nothing ever needs memory to be freed.

mod batch;
mod loans;

use batch::Copy;
pub(super) use batch::{Batch, Cutting, copy};

use super::layout::{DIRECTORIES, FREEING, HEAD, MAX_CELL, Off, PAGE_WORDS, SERIAL, entry, header};
use super::object::Object;
use super::tx::Tx;
use super::{Heap, fork};
use crate::error::{Error, Result};
use crate::wait::atomic::Ordering;

/// The most objects a process can hold.
const MAX_SLOTS: u64 = MAX_PAGES * PAGE_SLOTS;
/// Pages a table can have.
const MAX_PAGES: u64 = DIRECTORIES as u64 * PAGE_WORDS;
/// Slots in a page.
pub(super) const PAGE_SLOTS: u64 = PAGE_WORDS / 2;
/// Slots that are looked at in one transaction.
pub(super) const BATCH: u64 = 64;

/// In a page's head: how many of its slots are in use.
const USED: Off = 16;
/// In a page's head: its first slot that is free again (its place in the page, plus one).
const FREE: Off = 24;
/// In a page's head: its slots handed out at least once. What lies in and behind the next is arbitrary.
const BUMP: Off = 32;
/// In a page's head: its neighbours in the list of those with room (page numbers, plus one), or in that of the borrowers of
/// another (offsets).
const NEXT: Off = 40;
const PREV: Off = 48;
/// In a page's head: the first page that borrows from it, or the one that it borrows from, plus one: see [`loans`].
const LOANS: Off = 56;
const _: () = assert!(LOANS + 8 == HEAD);

/// A slot of some process's table, within a transaction. Outside of one a slot is known by its number, which a
/// forked child's copy of a handle shares with the parent's: each means the slot of its own process.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    entry: u64,
    number: u64,
    /// The page; 0: it is one of those that only freeing uses, which have no notes.
    page: Off,
    at: Off,
}

impl Slot {
    fn in_page(entry: u64, number: u64, page: Off) -> Self {
        Self {
            entry,
            number,
            page,
            at: page + HEAD + 16 * (number % PAGE_SLOTS),
        }
    }

    /// Its number.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Fills the slot; it must be one that is free, chosen in the same transaction.
    pub(super) fn hold(&self, tx: &mut Tx<'_>, off: Off) {
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
        if !at_an_end || loans::concern(tx, self.page) {
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
    pub(super) fn tally(&self) -> Off {
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
    pub(super) fn map<U>(self, function: impl FnOnce(T) -> U) -> Slotted<U> {
        match self {
            Self::NoSlot => Slotted::NoSlot,
            Self::Nothing => Slotted::Nothing,
            Self::Done(value) => Slotted::Done(function(value)),
        }
    }
}

/// Where the offset of a directory is, and which of its words is the page's.
fn directory_of(entry: u64, page: u64) -> (Off, u64) {
    (
        entry!(entry, directory) + 8 * (page / PAGE_WORDS),
        page % PAGE_WORDS,
    )
}

/// Page number `page` of an entry, 0 if there is none.
pub(super) fn page_at(tx: &Tx<'_>, entry: u64, page: u64) -> Off {
    let (directory, word) = directory_of(entry, page);
    match tx.get(directory) {
        0 => 0,
        directory => tx.get(directory + HEAD + 8 * word),
    }
}

/// Puts a page that has room to the front of its process's list.
fn enlist(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
    let first = tx.get(entry!(entry, hold_room));
    tx.set(at + NEXT, first);
    tx.set(at + PREV, 0);
    if first != 0 {
        tx.set(page_at(tx, entry, first - 1) + PREV, page + 1);
    }
    tx.set(entry!(entry, hold_room), page + 1);
}

/// The same for one that has got room. If there was one without a slot in use, which was kept because no other had room, that
/// goes instead.
fn offer(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
    let other = tx.get(entry!(entry, hold_room));
    enlist(tx, entry, page, at);
    if other != 0 {
        let other_at = page_at(tx, entry, other - 1);
        if tx.get(other_at + USED) == 0 {
            remove_page(tx, entry, other - 1, other_at);
        }
    }
}

/// Takes a page out of the list of those with room.
fn delist(tx: &mut Tx<'_>, entry: u64, at: Off) {
    let (next, prev) = (tx.get(at + NEXT), tx.get(at + PREV));
    match prev {
        0 => tx.set(entry!(entry, hold_room), next),
        p => tx.set(page_at(tx, entry, p - 1) + NEXT, next),
    }
    if next != 0 {
        tx.set(page_at(tx, entry, next - 1) + PREV, prev);
    }
}

/// Frees a page that is empty, unless it is the only one with room.
fn remove_if_spare(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
    if tx.get(at + NEXT) != 0 || tx.get(at + PREV) != 0 {
        remove_page(tx, entry, page, at);
    }
}

/// Frees a page that is empty, and lowers the table's end where it was the last.
fn remove_page(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
    delist(tx, entry, at);
    let (directory, word) = directory_of(entry, page);
    tx.set(tx.get(directory) + HEAD + 8 * word, 0);
    if page < tx.get(entry!(entry, hold_hint)) {
        tx.set(entry!(entry, hold_hint), page);
    }
    if page + 1 == tx.get(entry!(entry, hold_pages)) {
        let mut end = page;
        while end > 0 && page_at(tx, entry, end - 1) == 0 {
            end -= 1;
        }
        tx.set(entry!(entry, hold_pages), end);
    }
    tx.heap().free_cell(tx, at);
}

/// Enters a cell as page number `page`, with no slot in use.
fn enter_page(tx: &mut Tx<'_>, entry: u64, page: u64, cell: Off) {
    let (directory, word) = directory_of(entry, page);
    tx.set(tx.get(directory) + HEAD + 8 * word, cell);
    own(tx, cell, entry << 32 | page);
    for field in [USED, FREE, BUMP, LOANS] {
        tx.set(cell + field, 0);
    }
    enlist(tx, entry, page, cell);
    if page >= tx.get(entry!(entry, hold_pages)) {
        tx.set(entry!(entry, hold_pages), page + 1);
    }
}

/// A page is a cell like any other, but nobody refers to it: one reference, the entry's. Where an object has its serial number,
/// it says whose it is.
fn own(tx: &mut Tx<'_>, cell: Off, whose: u64) {
    tx.set(cell, 1 << 8);
    tx.set(cell + SERIAL, whose);
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
        loop {
            match self.with_spare_slot(&stage)? {
                Slotted::Done(done) => return Ok(Some(done)),
                Slotted::Nothing => return Ok(None),
                Slotted::NoSlot => self.make_slots()?,
            }
        }
    }

    /// The same without making room for more slots. For those who hold locks: they call
    /// [`make_slots`](Self::make_slots) when they do not any more, and try again.
    pub(super) fn with_spare_slot<T>(
        &self,
        stage: impl FnOnce(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Slotted<(T, u64)>> {
        self.with_spare_slots(1, stage)
    }

    /// The same where so many slots are to be free, the one that is filled among them.
    pub(super) fn with_spare_slots<T>(
        &self,
        count: u64,
        stage: impl FnOnce(&mut Tx<'_>, &Slot) -> Result<Option<T>>,
    ) -> Result<Slotted<(T, u64)>> {
        let _steady = fork::steady();
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

    /// The slot that an entry fills next, where there is one.
    pub(super) fn free_slot(tx: &Tx<'_>, entry: u64) -> Option<Slot> {
        let page = tx.get(entry!(entry, hold_room)).checked_sub(1)?;
        let at = page_at(tx, entry, page);
        let place = match tx.get(at + FREE) {
            0 => tx.get(at + BUMP),
            free => free - 1,
        };
        Some(Slot::in_page(entry, page * PAGE_SLOTS + place, at))
    }

    /// Whether so many slots of an entry are free.
    fn has_free(tx: &Tx<'_>, entry: u64, count: u64) -> bool {
        let (mut free, mut next) = (0, tx.get(entry!(entry, hold_room)));
        while free < count && next != 0 {
            let page = page_at(tx, entry, next - 1);
            free += PAGE_SLOTS - tx.get(page + USED);
            next = tx.get(page + NEXT);
        }
        free >= count
    }

    /// A slot for something that is to be freed: there is one while not very many are being freed at once.
    pub(super) fn freeing_slot(tx: &Tx<'_>, entry: u64) -> Option<Slot> {
        (0..FREEING as u64)
            .map(|i| Self::reserved(entry, i))
            .find(|slot| tx.get(slot.at) == 0)
            .or_else(|| Self::free_slot(tx, entry))
    }

    /// One of the slots in an entry itself.
    fn reserved(entry: u64, i: u64) -> Slot {
        Slot {
            entry,
            number: MAX_SLOTS + i,
            page: 0,
            at: entry!(entry, freeing) + 8 * i,
        }
    }

    /// The numbers of the slots in an entry itself.
    pub(super) fn reserved_numbers() -> core::ops::Range<u64> {
        MAX_SLOTS..MAX_SLOTS + FREEING as u64
    }

    /// The first page of an entry from number `page` on that has a slot in use, or a loan, and how many of its slots may be.
    pub(super) fn next_page(&self, entry: u64, page: u64) -> Result<Option<(u64, u64)>> {
        self.transact(|tx| {
            let end = tx.get(entry!(entry, hold_pages));
            Ok((page..end).find_map(|page| {
                let at = page_at(tx, entry, page);
                let is_it = at != 0 && (tx.get(at + USED) > 0 || loans::concern(tx, at));
                is_it.then(|| (page, tx.get(loans::seen(tx, at) + BUMP)))
            }))
        })
    }

    /// Empties slot `number` of this process.
    pub(crate) fn clear_slot(&self, tx: &mut Tx<'_>, number: u64) {
        if let Some(slot) = Self::slot(tx, self.my_entry(), number) {
            slot.clear(tx);
        }
    }

    /// Slot `number` of an entry, if there is one that has ever been filled.
    pub(super) fn slot(tx: &Tx<'_>, entry: u64, number: u64) -> Option<Slot> {
        if number >= MAX_SLOTS {
            return (number - MAX_SLOTS < FREEING as u64).then(|| Self::reserved(entry, number - MAX_SLOTS));
        }
        let page = page_at(tx, entry, number / PAGE_SLOTS);
        (page != 0 && number % PAGE_SLOTS < tx.get(page + BUMP)).then(|| Slot::in_page(entry, number, page))
    }

    /// Where this process's tally on an object is.
    #[inline]
    pub(crate) fn tally_of(&self, object: &Object) -> Result<Off> {
        object.tally(self.me(), || self.tally_at(object.slot()))
    }

    /// Where the tally in slot `number` of this process is, which holds something.
    fn tally_at(&self, number: u64) -> Result<Off> {
        let entry = self.my_entry();
        let slot = || Slot::in_page(entry, number, self.page_now(entry, number / PAGE_SLOTS));
        if loans::is_borrowed(self, slot().page) {
            // The page stays where it is.
            self.settle_page(entry, number / PAGE_SLOTS)?;
        }
        Ok(slot().tally())
    }

    /// What this process has noted in slot `number`, which holds something.
    pub(super) fn tally(&self, number: u64) -> i64 {
        let entry = self.my_entry();
        let slot = Slot::in_page(entry, number, self.page_now(entry, number / PAGE_SLOTS));
        if loans::is_borrowed(self, slot.page) {
            return 0;
        }
        self.word(slot.tally()).load(Ordering::Relaxed).cast_signed()
    }

    /// A page of this process that something is held in.
    fn page_now(&self, entry: u64, page: u64) -> Off {
        let get = |off| self.word(off).load(Ordering::Relaxed);
        let (directory, word) = directory_of(entry, page);
        get(get(directory) + HEAD + 8 * word)
    }

    /// Makes room for more slots of this process, where none is free.
    pub(crate) fn make_slots(&self) -> Result<()> {
        self.make_slots_for(1)
    }

    /// The same where fewer than `count` are free.
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

    /// The lowest number that no page of an entry has.
    fn free_page(tx: &mut Tx<'_>, entry: u64) -> Result<u64> {
        let hint = tx.get(entry!(entry, hold_hint));
        let page = (hint..MAX_PAGES).find(|&page| page_at(tx, entry, page) == 0);
        let page = page.ok_or(Error::TooManyObjects { max: MAX_SLOTS })?;
        tx.set(entry!(entry, hold_hint), page);
        Ok(page)
    }

    /// Uses a cell for page number `page` of an entry, or for the directory that it needs first.
    pub(super) fn place_page(&self, tx: &mut Tx<'_>, entry: u64, page: u64, cell: Off) {
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

    /// Counts the references of an entry, and panics where its lists contradict its pages. Nobody else may be at work.
    #[cfg(all(test, not(loom)))]
    pub(super) fn count_references(&self, entry: u64) -> u64 {
        self.transact(|tx| {
            let end = tx.get(entry!(entry, hold_pages));
            let (mut all, mut with_room) = (0, 0);
            for page in 0..end {
                let at = page_at(tx, entry, page);
                assert!(at != 0 || page + 1 < end, "the last page is missing");
                assert!(
                    at != 0 || page >= tx.get(entry!(entry, hold_hint)),
                    "a number below the hint is free"
                );
                if at == 0 {
                    continue;
                }
                if let Some(borrowed) = self.count_borrowed(tx, at) {
                    all += borrowed;
                    continue;
                }
                let bump = tx.get(at + BUMP);
                let slots = (0..bump).map(|place| Slot::in_page(entry, page * PAGE_SLOTS + place, at));
                let used = slots.filter(|slot| slot.held(tx) != 0).count() as u64;
                assert_eq!(used, tx.get(at + USED), "slots in use are counted");
                let (mut free, mut next) = (0, tx.get(at + FREE));
                while next != 0 {
                    free += 1;
                    assert!(free <= bump, "a list runs in a circle");
                    next = tx.get(Slot::in_page(entry, next - 1, at).at) >> 1;
                }
                assert_eq!(free, bump - used, "free slots are listed");
                all += used;
                with_room += u64::from(used < PAGE_SLOTS && !loans::concern(tx, at));
            }
            let mut listed = 0;
            let mut next = tx.get(entry!(entry, hold_room));
            while next != 0 {
                listed += 1;
                assert!(listed <= with_room, "a list runs in a circle");
                next = tx.get(page_at(tx, entry, next - 1) + NEXT);
            }
            assert_eq!(listed, with_room, "pages with room are listed");
            for i in 0..FREEING as u64 {
                assert_eq!(
                    tx.get(Self::reserved(entry, i).at),
                    0,
                    "something is left half freed"
                );
            }
            Ok(all)
        })
        .expect("nobody is stopped")
    }

    /// Frees the pages of an entry that holds nothing any more.
    pub(super) fn drop_pages(&self, entry: u64) -> Result<()> {
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

/// Directories that the first `pages` pages of a table need.
pub(super) fn directories(pages: u64) -> u64 {
    pages.div_ceil(PAGE_WORDS)
}

/// The serial number lives in the header, next to what it numbers.
pub(super) fn next_serial(tx: &mut Tx<'_>) -> u64 {
    tx.add(header!(serial), 1);
    tx.get(header!(serial))
}
