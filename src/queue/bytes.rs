//! Queues of plain bytes, written and read in place.

mod message;

pub use message::{Message, Reservation};

use super::refused::{Refused, in_time};
use super::ring::{Got, OutgoingMessage, Ring, is_inline};
use crate::codec::{self, Handle};
use crate::error::Result;
use crate::heap::block::Block;
use crate::os::clock::Deadline;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Puts a copy of `bytes`.
pub(crate) fn put_bytes(ring: &Ring, bytes: &[u8], deadline: Deadline) -> Result<(), Refused> {
    let mut message = if is_inline(bytes.len()) {
        OutgoingMessage::Bytes(bytes)
    } else {
        // If the queue is shut down, megabytes need not be copied.
        if ring.is_closed() {
            return Err(Refused::ShutDown);
        }
        let block = codec::block_of(ring.heap(), bytes, &[]).map_err(Refused::Failed)?;
        OutgoingMessage::Block(Some(block))
    };
    ring.put(&mut message, deadline)
}

/// Takes the next message as bytes.
pub(crate) fn get_bytes(ring: &Ring, deadline: Deadline) -> Result<Message> {
    let mut buffer = Vec::new();
    match ring.get(&mut buffer, deadline) {
        Ok(Got::Inline(_)) => Ok(buffer.into()),
        Ok(Got::Block(block)) => Ok(block.into()),
        Err(error) => Err(in_time(error, deadline)),
    }
}

/// A queue of byte messages: the queue under every other one, for payloads that need no encoding.
///
/// A large message is copied once by [`put`](Self::put) and not at all by [`reserve`](Self::reserve), which lends
/// shared memory to be filled in place; [`get`](Self::get) lends the message where it is. Order, bounds, shutting down
/// and what happens when a process dies are as for [`Queue`](crate::Queue): in particular, a process that dies between
/// `reserve` and `commit` leaves nothing behind.
///
/// ```
/// use procession::ByteQueue;
///
/// let queue = ByteQueue::unbounded()?;
/// let mut frame = queue.reserve(1 << 20)?;
/// frame.fill(7);
/// frame.commit()?;
///
/// let frame = queue.get()?;
/// assert_eq!((frame.len(), frame[12345]), (1 << 20, 7));
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone)]
pub struct ByteQueue {
    ring: Ring,
}

impl ByteQueue {
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Makes a queue that takes any number of messages, as far as memory goes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the system said when the program's shared memory was
    /// set up.
    pub fn unbounded() -> Result<Self> {
        Ok(Self {
            ring: Ring::new(crate::program::heap()?, 0, number())?,
        })
    }

    /// Makes a queue that holds at most `capacity` messages.
    ///
    /// # Errors
    ///
    /// As for [`unbounded`](Self::unbounded); [`Error::Capacity`](crate::Error::Capacity) for 0.
    pub fn bounded(capacity: usize) -> Result<Self> {
        Ok(Self {
            ring: super::bounded_ring(capacity, number())?,
        })
    }

    /// Puts a copy of `bytes`, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`](crate::Error::ShutDown) after a shutdown, [`Error::OutOfMemory`](crate::Error::OutOfMemory),
    /// [`Error::TooLarge`](crate::Error::TooLarge).
    pub fn put(&self, bytes: &[u8]) -> Result<()> {
        self.put_until(bytes, Deadline::Never)
    }

    /// Puts a copy of `bytes` if there is room.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`Error::Full`](crate::Error::Full).
    pub fn try_put(&self, bytes: &[u8]) -> Result<()> {
        self.put_until(bytes, Deadline::Now)
    }

    /// Puts a copy of `bytes`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`Error::Timeout`](crate::Error::Timeout).
    pub fn put_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.put_until(bytes, Deadline::after(timeout))
    }

    fn put_until(&self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        put_bytes(&self.ring, bytes, deadline).map_err(|refused| refused.into_error(deadline))
    }

    /// Lends `len` bytes of shared memory to be filled and [committed](Reservation::commit). Their contents are
    /// arbitrary at first (those of an earlier message, for example). They take no room in the queue yet.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::TooLarge`](crate::Error::TooLarge).
    pub fn reserve(&self, len: usize) -> Result<Reservation> {
        let block = Block::new(self.ring.heap(), len as u64, 0)?;
        Ok(Reservation::new(self.ring.clone(), block))
    }

    /// Takes the next message, waiting for one; a large one is lent where it is.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`](crate::Error::ShutDown) once the queue is shut down and empty.
    pub fn get(&self) -> Result<Message> {
        self.get_until(Deadline::Never)
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Empty`](crate::Error::Empty).
    pub fn try_get(&self) -> Result<Message> {
        self.get_until(Deadline::Now)
    }

    /// Takes the next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Timeout`](crate::Error::Timeout).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Message> {
        self.get_until(Deadline::after(timeout))
    }

    fn get_until(&self, deadline: Deadline) -> Result<Message> {
        get_bytes(&self.ring, deadline)
    }

    /// Takes the next message, waiting for one, and copies it into `buffer` in place of what is there.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_into(&self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        if let Got::Block(block) = self.ring.get(buffer, Deadline::Never)? {
            buffer.extend_from_slice(&block);
        }
        Ok(())
    }

    /// Returns the number of messages. With concurrent producers or consumers the value may be stale at once.
    pub fn len(&self) -> usize {
        self.ring.len() as usize
    }

    /// Returns true if there is no message.
    pub fn is_empty(&self) -> bool {
        self.ring.len() == 0
    }

    /// Lets no more messages in; see [`Queue::shutdown`](crate::Queue::shutdown).
    ///
    /// # Errors
    ///
    /// None that a program can cause; see [`Error`](crate::Error).
    pub fn shutdown(&self) {
        super::shut(&self.ring, false);
    }

    /// Lets no more messages in and drops those that are there.
    pub fn shutdown_now(&self) {
        super::shut(&self.ring, true);
    }
}

/// Returns the type number of byte queues.
fn number() -> u64 {
    codec::type_number::<ByteQueue>()
}

impl Serialize for ByteQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ring.handle().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ByteQueue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = Handle::deserialize_as(number(), deserializer)?;
        Ok(Self {
            ring: Ring::from(handle),
        })
    }
}

impl core::fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        super::debug(&self.ring, "ByteQueue", f)
    }
}
