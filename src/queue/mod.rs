//! Queues between processes and threads: any number of producers and consumers, one order, nothing lost to a kill.

mod any;
mod bytes;
mod error;
#[cfg(all(test, loom))]
mod models;
mod producer;
pub(crate) mod ring;
mod segment;
mod typed;
mod view;

pub(crate) use any::any_queue;
pub use any::{AnyJoinableQueue, AnyQueue};
pub use bytes::{ByteQueue, Message, Reservation};
pub(crate) use bytes::{get_bytes, put_bytes};
pub use error::PutError;
pub use producer::Producer;
pub(crate) use producer::{PRODUCERS, Token};

pub use typed::{Iter, JoinableQueue, Queue, SimpleQueue};
pub(crate) use typed::{get_value, put_value};
pub(crate) use view::QUEUE;

use crate::error::{Error, Result};
use crate::heap::internal::insist;
use crate::os::clock::Deadline;
use ring::Ring;

/// A ring for at most `capacity` messages.
pub(crate) fn bounded_ring(capacity: usize, typed: u64) -> Result<Ring> {
    if capacity == 0 {
        return Err(Error::Capacity {
            given: 0,
            max: ring::MAX_CAPACITY,
        });
    }
    Ring::new(crate::program::heap()?, capacity as u64, typed)
}

/// A `get` that found nothing until its deadline: the name of that depends on whether it waited.
pub(crate) fn in_time(error: Error, deadline: Deadline) -> Error {
    match error {
        Error::Empty if deadline != Deadline::Now => Error::Timeout,
        other => other,
    }
}

/// Shuts a ring down, however long somebody is stopped in the middle of a change to it. It fails only in a process that cannot
/// use what is shared.
fn shut(ring: &Ring, discard: bool) {
    let _ = insist(|| ring.shutdown(discard));
}

fn debug(ring: &Ring, name: &str, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
    let capacity = (ring.capacity() > 0).then(|| ring.capacity());
    f.debug_struct(name)
        .field("len", &ring.len())
        .field("capacity", &capacity)
        .field("shut_down", &ring.is_closed())
        .finish()
}

/// Makes a type that wraps a ring a handle that can be sent inside its program.
macro_rules! handle {
    ($name:ty, ($($generics:tt)*), $number:expr $(, $rest:ident : $value:expr)?) => {
        impl<$($generics)*> serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::codec::serialize_handle(self.ring.object(), self.ring.heap(), serializer)
            }
        }

        impl<'de, $($generics)*> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (object, heap) =
                    crate::codec::deserialize_handle(&crate::queue::QUEUE, $number, deserializer)?;
                Ok(Self { ring: crate::queue::ring::Ring::from_object(heap, object) $(, $rest: $value)? })
            }
        }
    };
}
use handle;
