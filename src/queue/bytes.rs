//! Queues of plain bytes, written and read in place.

use super::error::PutError;
use super::ring::{Got, OutgoingMessage, Refused, Ring, is_inline};
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::block::Block;
use crate::os::clock::Deadline;
use core::ops::{Deref, DerefMut};
use std::time::Duration;

/// Puts a copy of `bytes`.
pub(crate) fn put_bytes(ring: &Ring, bytes: &[u8], deadline: Deadline) -> Result<(), Refused> {
    let mut message = if is_inline(bytes.len()) {
        OutgoingMessage::Bytes(bytes)
    } else {
        // A queue that is shut down says so before megabytes are copied for it.
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
    let got = ring.get(&mut buffer, deadline);
    Ok(match got.map_err(|e| super::in_time(e, deadline))? {
        Got::Inline(_) => buffer.into(),
        Got::Block(block) => Message(Contents::Lent(block)),
    })
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

    /// A queue that takes any number of messages, as far as memory goes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn unbounded() -> Result<Self> {
        Ok(Self {
            ring: Ring::new(crate::program::heap()?, 0, number())?,
        })
    }

    /// A queue that holds at most `capacity` messages.
    ///
    /// # Errors
    ///
    /// As for [`unbounded`](Self::unbounded); [`Error::Capacity`] for 0.
    pub fn bounded(capacity: usize) -> Result<Self> {
        Ok(Self {
            ring: super::bounded_ring(capacity, number())?,
        })
    }

    /// Puts a copy of `bytes`, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown, [`Error::OutOfMemory`], [`Error::TooLarge`].
    pub fn put(&self, bytes: &[u8]) -> Result<()> {
        self.put_until(bytes, Deadline::Never)
    }

    /// Puts a copy of `bytes` if there is room.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`Error::Full`].
    pub fn try_put(&self, bytes: &[u8]) -> Result<()> {
        self.put_until(bytes, Deadline::Now)
    }

    /// Puts a copy of `bytes`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`Error::Timeout`].
    pub fn put_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.put_until(bytes, Deadline::after(timeout))
    }

    fn put_until(&self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        put_bytes(&self.ring, bytes, deadline).map_err(|refused| refused.into_error(deadline))
    }

    /// Lends `len` bytes of shared memory to be filled and [committed](Reservation::commit). Their first contents are
    /// arbitrary (of an earlier message, say). Takes no room in the queue yet.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::TooLarge`].
    pub fn reserve(&self, len: usize) -> Result<Reservation> {
        Ok(Reservation {
            ring: self.ring.clone(),
            block: Block::new(self.ring.heap(), len as u64, 0)?,
        })
    }

    /// Takes the next message, waiting for one; a large one is lent where it is.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] once the queue is shut down and empty.
    pub fn get(&self) -> Result<Message> {
        self.get_until(Deadline::Never)
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Empty`].
    pub fn try_get(&self) -> Result<Message> {
        self.get_until(Deadline::Now)
    }

    /// Takes the next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Timeout`].
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

    /// Messages in the queue; where others are at work, old news at once.
    pub fn len(&self) -> usize {
        self.ring.len() as usize
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.ring.len() == 0
    }

    /// Lets no more messages in; see [`Queue::shutdown`](crate::Queue::shutdown).
    ///
    /// # Errors
    ///
    /// None that a program can cause; see [`Error`].
    pub fn shutdown(&self) {
        super::shut(&self.ring, false);
    }

    /// Lets no more messages in and drops those that are there.
    pub fn shutdown_now(&self) {
        super::shut(&self.ring, true);
    }
}

fn number() -> u64 {
    codec::type_number::<ByteQueue>()
}

super::handle!(ByteQueue, (), number());

impl core::fmt::Debug for ByteQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        super::debug(&self.ring, "ByteQueue", f)
    }
}

/// Shared memory lent to be filled; see [`ByteQueue::reserve`]. Dropped without a commit, it is as if never asked for.
#[derive(Debug)]
pub struct Reservation {
    ring: Ring,
    block: Block,
}

impl Reservation {
    /// Puts the message into the queue without copying it, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`PutError::ShutDown`] after a shutdown; the reservation is given back, filled as it is.
    pub fn commit(self) -> Result<(), PutError<Self>> {
        self.commit_until(Deadline::Never)
    }

    /// The same if there is room.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit); [`PutError::Full`].
    pub fn try_commit(self) -> Result<(), PutError<Self>> {
        self.commit_until(Deadline::Now)
    }

    /// The same, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit); [`PutError::Timeout`].
    pub fn commit_timeout(self, timeout: Duration) -> Result<(), PutError<Self>> {
        self.commit_until(Deadline::after(timeout))
    }

    fn commit_until(self, deadline: Deadline) -> Result<(), PutError<Self>> {
        let Self { ring, block } = self;
        let mut message = OutgoingMessage::Block(Some(block));
        let refused = match ring.put(&mut message, deadline) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        match message {
            OutgoingMessage::Block(Some(block)) => Err(refused.with(Self { ring, block }, deadline)),
            _ => unreachable!("a block that was refused is still there"),
        }
    }
}

impl Deref for Reservation {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.block
    }
}

impl DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.block
    }
}

/// A message of bytes, from a [`ByteQueue`] or a [`Connection`](crate::Connection). A large one lies in shared memory, which
/// goes back when this is dropped.
#[derive(Debug)]
pub struct Message(Contents);

#[derive(Debug)]
enum Contents {
    Copied(Vec<u8>),
    Lent(Block),
}

impl Deref for Message {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Contents::Copied(bytes) => bytes,
            Contents::Lent(block) => block,
        }
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Contents::Copied(bytes))
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        match message.0 {
            Contents::Copied(bytes) => bytes,
            Contents::Lent(block) => block.to_vec(),
        }
    }
}

impl Refused {
    /// The reason alone.
    pub(super) fn into_error(self, deadline: Deadline) -> Error {
        Error::from(self.with((), deadline))
    }

    /// The public error, with what is given back.
    pub(super) fn with<T>(self, value: T, deadline: Deadline) -> PutError<T> {
        match self {
            Self::ShutDown => PutError::ShutDown(value),
            Self::Full if deadline == Deadline::Now => PutError::Full(value),
            Self::Full => PutError::Timeout(value),
            Self::Failed(error) => PutError::Failed(value, error),
        }
    }
}
