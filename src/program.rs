//! The wiring: which kinds of object the heap holds. Every room above the heap gets it here.

use crate::error::Result;
use crate::heap::Heap;
use crate::heap::block::BLOCK;
use crate::heap::object::ObjectKind;
use crate::heap::registration::{READY_SET, REGISTRATION};
use crate::pipe::END;
use crate::queue::{PRODUCERS, QUEUE};
use crate::shared::REGION;
use crate::sync::{BARRIER, CONDITION, EVENT, LOCK, RLOCK, SEMAPHORE, WAITER};

/// What lives in a program's heap.
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

/// The program's heap, made by whoever asks first.
#[inline]
pub(crate) fn heap() -> Result<&'static Heap> {
    match Heap::existing() {
        Some(heap) => Ok(heap),
        None => Heap::get_or_create(KINDS),
    }
}
