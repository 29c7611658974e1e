//! A page of slots: what is in its head, and the lists and directories that it is in.

use crate::heap::Heap;
use crate::heap::memory::layout::{DIRECTORIES, HEAD, Off, PAGE_WORDS, SERIAL, entry};
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;

/// The most objects that a process can refer to.
pub(in crate::heap) const MAX_SLOTS: u64 = MAX_PAGES * PAGE_SLOTS;
/// Pages a table can have.
pub(in crate::heap) const MAX_PAGES: u64 = DIRECTORIES as u64 * PAGE_WORDS;
/// Slots in a page.
pub(in crate::heap) const PAGE_SLOTS: u64 = PAGE_WORDS / 2;
/// The most slots that are read in one transaction.
pub(in crate::heap) const BATCH: u64 = 64;

/// In a page's head: the number of its slots in use.
pub(in crate::heap) const USED: Off = 16;
/// In a page's head: its first slot that is free again (its place in the page, plus one).
pub(in crate::heap) const FREE: Off = 24;
/// In a page's head: the number of its slots that were handed out at least once. Later slots have arbitrary contents.
pub(in crate::heap) const BUMP: Off = 32;
/// In a page's head: its neighbours in the list of pages with room (page numbers, plus one), or in the list of
/// borrowers of a page (offsets).
pub(in crate::heap) const NEXT: Off = 40;
pub(in crate::heap) const PREV: Off = 48;
/// In a page's head: the first page that borrows from it, or the page that it borrows from, plus one: see `loans.rs`.
pub(in crate::heap) const LOANS: Off = 56;
const _: () = assert!(LOANS + 8 == HEAD);

/// Returns the offset of the word that points to a page's directory, and the index of the page's word in the
/// directory.
pub(in crate::heap) fn directory_of(entry: u64, page: u64) -> (Off, u64) {
    (
        entry!(entry, directory) + 8 * (page / PAGE_WORDS),
        page % PAGE_WORDS,
    )
}

/// Returns page number `page` of an entry, 0 if there is none.
pub(in crate::heap) fn page_at(tx: &Tx<'_>, entry: u64, page: u64) -> Off {
    let (directory, word) = directory_of(entry, page);
    match tx.get(directory) {
        0 => 0,
        directory => tx.get(directory + HEAD + 8 * word),
    }
}

/// Puts a page that has room to the front of its process's list.
pub(in crate::heap) fn enlist(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
    let first = tx.get(entry!(entry, hold_room));
    tx.set(at + NEXT, first);
    tx.set(at + PREV, 0);
    if first != 0 {
        tx.set(page_at(tx, entry, first - 1) + PREV, page + 1);
    }
    tx.set(entry!(entry, hold_room), page + 1);
}

/// Puts a page that has got room into the list. If there was an empty page, kept because no other had room, that
/// page is freed.
pub(in crate::heap) fn offer(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
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
pub(in crate::heap) fn delist(tx: &mut Tx<'_>, entry: u64, at: Off) {
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
pub(in crate::heap) fn remove_if_spare(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
    if tx.get(at + NEXT) != 0 || tx.get(at + PREV) != 0 {
        remove_page(tx, entry, page, at);
    }
}

/// Frees a page that is empty, and lowers the table's end where it was the last.
pub(in crate::heap) fn remove_page(tx: &mut Tx<'_>, entry: u64, page: u64, at: Off) {
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
pub(in crate::heap) fn enter_page(tx: &mut Tx<'_>, entry: u64, page: u64, cell: Off) {
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

/// Writes the head of a page. A page is a cell like any other, with one reference, the entry's. In place of a
/// serial number the head has the page's entry and number.
pub(in crate::heap) fn own(tx: &mut Tx<'_>, cell: Off, whose: u64) {
    tx.set(cell, 1 << 8);
    tx.set(cell + SERIAL, whose);
}

/// Returns the number of directories that the first `pages` pages of a table need.
pub(in crate::heap) fn directories(pages: u64) -> u64 {
    pages.div_ceil(PAGE_WORDS)
}
/// Returns the page that a page with this word of [`LOANS`] borrows from.
pub(in crate::heap) fn lender(loans: u64) -> Option<Off> {
    (loans & 1 == 1).then_some(loans & !1)
}

/// Returns whether a page is lent or borrows, in a transaction that has not changed that.
#[inline]
pub(in crate::heap) fn concern(tx: &Tx<'_>, page: Off) -> bool {
    tx.heap().word(page + LOANS).load(Ordering::Acquire) != 0
}

/// Returns whether a page borrows, outside of transactions.
pub(in crate::heap) fn is_borrowed(heap: &Heap, page: Off) -> bool {
    lender(heap.word(page + LOANS).load(Ordering::Acquire)).is_some()
}

/// Returns the page in which the slots of `page` are to be read.
pub(in crate::heap) fn seen(tx: &Tx<'_>, page: Off) -> Off {
    lender(tx.get(page + LOANS)).unwrap_or(page)
}
