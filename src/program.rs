//! The wiring of the program's heap: which kinds of object it holds.
//!
//! The heap recovers objects of dead processes without knowing their types: each [`ObjectKind`] is a table of
//! functions, and an object's first byte is its kind's number. The kinds belong to rooms above the heap, so [`KINDS`]
//! names rooms above this one. This is the one exception to the rule that a room uses only rooms above it in
//! ARCHITECTURE.md's table.
//!
//! ```text
//!   sync, shared, queue, pipe     rooms that have objects in the heap
//!        |            ^
//!        | heap()     | kinds    (upwards: the exception)
//!        v            |
//!         program.rs -+
//!             |
//!             | KINDS
//!             v
//!           heap                 calls the kinds' functions, and knows no room above
//! ```

use crate::error::Result;
use crate::heap::Heap;
use crate::heap::block::BLOCK;
use crate::heap::object::ObjectKind;
use crate::heap::registration::{READY_SET, REGISTRATION};
use crate::pipe::END;
use crate::queue::{PRODUCERS, QUEUE};
use crate::shared::REGION;
use crate::sync::{BARRIER, CONDITION, EVENT, LOCK, RLOCK, SEMAPHORE, WAITER};

/// All kinds of object in a program's heap, in any order.
pub(crate) static KINDS: &[&ObjectKind] = &[
    &BLOCK,
    &QUEUE,
    &LOCK,
    &SEMAPHORE,
    &RLOCK,
    &CONDITION,
    &EVENT,
    &BARRIER,
    &WAITER,
    &REGION,
    &END,
    &READY_SET,
    &REGISTRATION,
    &PRODUCERS,
];

/// Returns the program's heap. The first call makes it.
#[inline]
pub(crate) fn heap() -> Result<&'static Heap> {
    match Heap::existing() {
        Some(heap) => Ok(heap),
        None => Heap::get_or_create(KINDS),
    }
}
