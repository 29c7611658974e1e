//! Queues between processes and threads: any number of producers and consumers, one order, nothing lost to a kill.

mod any;
mod bytes;
mod claims;
mod get;
mod joinable;
mod kind;
mod layout;
mod lock;
#[cfg(all(test, loom))]
mod models;
mod producer;
mod put;
mod refused;
pub(crate) mod ring;
mod segment;
mod simple;
mod typed;
mod values;
mod view;
mod wait;

pub use crate::error::PutError;
pub(crate) use any::any_queue;
pub use any::{AnyJoinableQueue, AnyQueue};
pub use bytes::{ByteQueue, Message, Reservation};
pub(crate) use bytes::{get_bytes, put_bytes};
pub use joinable::JoinableQueue;
pub(crate) use kind::{QUEUE, RingKind};
pub use producer::Producer;
pub(crate) use producer::{PRODUCERS, ProducersKind, Token};
pub(crate) use refused::in_time;
pub use simple::SimpleQueue;
pub use typed::{Iter, Queue};
pub(crate) use values::{get_value, put_value};

use crate::error::{Error, Result};
use crate::heap::internal::insist;
use layout::MAX_CAPACITY;
use ring::Ring;

/// Makes a ring for at most `capacity` messages, which must not be 0.
pub(crate) fn bounded_ring(capacity: usize, typed: u64) -> Result<Ring> {
    if capacity == 0 {
        return Err(Error::Capacity {
            given: 0,
            max: MAX_CAPACITY,
        });
    }
    Ring::new(crate::program::heap()?, capacity as u64, typed)
}

/// Shuts a ring down, however long a process is stopped in the middle of a change to it.
///
/// It fails only in a process that cannot use shared memory at all.
fn shut(ring: &Ring, discard: bool) {
    let _ = insist(|| ring.shutdown(discard));
}

/// Writes what all queues show of themselves.
fn debug(ring: &Ring, name: &str, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
    let capacity = (ring.capacity() > 0).then(|| ring.capacity());
    f.debug_struct(name)
        .field("len", &ring.len())
        .field("capacity", &capacity)
        .field("shut_down", &ring.is_closed())
        .finish()
}
