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
