//! Memory that a [`ByteQueue`](crate::ByteQueue) lends: to be filled, and to be read.

use super::super::PutError;
use super::super::ring::{OutgoingMessage, Ring};
use crate::heap::block::Block;
use crate::os::clock::Deadline;
use core::ops::{Deref, DerefMut};
use std::time::Duration;

/// Shared memory that is lent to be filled: see [`ByteQueue::reserve`](crate::ByteQueue::reserve). Dropped without a
/// commit, it puts nothing.
#[derive(Debug)]
pub struct Reservation {
    ring: Ring,
    block: Block,
}

// A reservation that was refused is given back by value: boxing it would cost an allocation.
#[allow(clippy::result_large_err)]
impl Reservation {
    pub(super) fn new(ring: Ring, block: Block) -> Self {
        Self { ring, block }
    }

    /// Puts the message into the queue without copying it, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// [`PutError::ShutDown`] after a shutdown; the reservation is given back, filled as it is.
    pub fn commit(self) -> Result<(), PutError<Self>> {
        self.commit_until(Deadline::Never)
    }

    /// Puts the message as [`commit`](Self::commit) does, if there is room.
    ///
    /// # Errors
    ///
    /// As for [`commit`](Self::commit); [`PutError::Full`].
    pub fn try_commit(self) -> Result<(), PutError<Self>> {
        self.commit_until(Deadline::Now)
    }

    /// Puts the message as [`commit`](Self::commit) does, waiting for room for at most `timeout`.
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

/// A message of bytes, from a [`ByteQueue`](crate::ByteQueue) or a [`Connection`](crate::Connection). A large one lies
/// in shared memory, which is given back when this is dropped.
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

impl From<Block> for Message {
    fn from(block: Block) -> Self {
        Self(Contents::Lent(block))
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
