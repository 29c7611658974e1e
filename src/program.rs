//! The wiring: which kinds of object the heap holds. Every room above the heap gets it here.

use crate::channel::END;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::block::BLOCK;
use crate::heap::object::Kind;
use crate::queue::QUEUE;
use crate::shared::MEMORY;
use crate::sync::{BARRIER, CONDITION, EVENT, LOCK, RLOCK, SEMAPHORE, WAITER};

/// What lives in a program's heap.
pub(crate) static KINDS: &[&Kind] = &[
    &BLOCK, &QUEUE, &LOCK, &SEMAPHORE, &RLOCK, &CONDITION, &EVENT, &BARRIER, &WAITER, &MEMORY, &END,
];

/// The program's heap, made by whoever asks first.
#[inline]
pub(crate) fn heap() -> Result<&'static Heap> {
    match Heap::existing() {
        Some(heap) => Ok(heap),
        None => Heap::get_or_create(KINDS),
    }
}
