//! The table of references of a process: every object and block that it refers to, one slot each.
//!
//! A slot is filled in the transaction that makes or takes the thing, and emptied in the one that passes it on or
//! frees it. Clearing up after a dead process goes through its table. So an allocation half done, a message half
//! filled and a handle never dropped are all undone in the same way.
//!
//! Slots are pairs of words in pages. Pages are cells of the largest size, found by number through directories of the
//! same size. A page's head counts its slots in use, and begins the list of those that are free again. Pages with a
//! free slot are in a list of the process. A page without a slot in use is freed, unless it is the only one with room.
//! So the size of the table, and the time to go through it, grow with the number of references.
//!
//! The first word of a free slot is `next free << 1 | 1`, of a filled one an offset (which is even). The second is the
//! *tally*: what the object's kind must know of this process when the process dies (permits it has, items it works
//! on). Each kind writes it by a protocol of its own. It is zero in an empty slot, and a forked child does not inherit
//! it.
//!
//! A forked child shares the full pages of its parent, until one of the two changes a slot there: see [`loans`].
//!
//! After the numbers of all pages come those of a few slots in the process's entry itself, which only freeing uses:
//! what is freed passes through one of them, so freeing never needs memory.

mod batch;
#[cfg(all(test, not(loom)))]
mod count;
mod loans;
mod page;
mod room;
mod slot;
mod slots;

pub(in crate::heap) use batch::{Batch, Cutting, copy};
pub(in crate::heap) use page::{BATCH, PAGE_SLOTS, directories, page_at};
pub(crate) use slot::Slotted;
