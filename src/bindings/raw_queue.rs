//! A queue of bytes and parcels, for a binding to another language.

use super::parcel::Parcel;
use crate::codec::{self, Handle};
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::queue::RingKind;
use crate::queue::ring::{Got, OutgoingMessage, Refused, Ring, is_inline};
use crate::select::{Source, Waitable};

/// The queue below the queues of another language; see [`Queue`](crate::Queue) for what it promises.
#[derive(Clone, Debug)]
pub struct RawQueue {
    ring: Ring,
}

/// A message that was taken.
#[derive(Debug)]
pub enum Received {
    /// This many bytes, appended to the buffer.
    Inline(usize),
    /// A message with memory of its own.
    Parcel(Parcel),
}

impl From<Got> for Received {
    fn from(got: Got) -> Self {
        match got {
            Got::Inline(len) => Self::Inline(len),
            Got::Block(block) => Self::Parcel(Parcel(block)),
        }
    }
}

impl RawQueue {
    /// Makes a queue for at most `capacity` messages, 0 for any number.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::Capacity`], or what the system said when shared memory was set up.
    pub fn new(capacity: u64) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(crate::program::heap()?, capacity, number())?,
        })
    }

    /// Returns true if a message of `len` bytes is better put as bytes than as a parcel.
    pub fn is_small(len: usize) -> bool {
        is_inline(len)
    }

    /// Puts a message of at most [small](Self::is_small) size.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`], [`Error::Full`] (also when the deadline has passed), [`Error::Interrupted`].
    #[inline]
    pub fn put(&self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        self.ring
            .put(&mut OutgoingMessage::Bytes(bytes), deadline)
            .map_err(plain)
    }

    /// Puts a parcel, which is given back if that fails.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put).
    pub fn put_parcel(&self, parcel: Parcel, deadline: Deadline) -> Result<(), (Error, Parcel)> {
        let mut message = OutgoingMessage::Block(Some(parcel.0));
        match (self.ring.put(&mut message, deadline), message) {
            (Ok(()), _) => Ok(()),
            (Err(refused), OutgoingMessage::Block(Some(block))) => Err((plain(refused), Parcel(block))),
            _ => unreachable!("a block that was refused is still there"),
        }
    }

    /// Puts small messages that stand one after the other in `bytes` and end at `ends`. Returns how many were put, and
    /// how the call ended.
    pub fn put_many(&self, bytes: &[u8], ends: &[usize], deadline: Deadline) -> (usize, Result<()>) {
        let mut message = OutgoingMessage::Many { bytes, ends, put: 0 };
        let answer = self.ring.put(&mut message, deadline).map_err(plain);
        match message {
            OutgoingMessage::Many { put, .. } => (put, answer),
            _ => unreachable!("it is what it was made"),
        }
    }

    /// Takes the next message.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] (also when the deadline has passed), [`Error::ShutDown`], [`Error::Interrupted`].
    #[inline]
    pub fn get(&self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<Received> {
        self.ring.get(buffer, deadline).map(Received::from)
    }

    /// Waits for a message, and takes up to `most` that are there.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_many(&self, buffer: &mut Vec<u8>, most: usize, deadline: Deadline) -> Result<Vec<Received>> {
        let got = self.ring.get_many(buffer, most, deadline)?;
        Ok(got.into_iter().map(Received::from).collect())
    }

    /// Returns true if there seems to be a message. It is for a few looks before waiting.
    #[inline]
    pub fn may_have_message(&self) -> bool {
        self.ring.may_have_message()
    }

    /// Waits until a `get` would not wait. Returns false if the deadline passed first.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn wait_readable(&self, deadline: Deadline) -> Result<bool> {
        self.ring.wait_readable(deadline)
    }

    /// Waits until a `put` would not wait. Returns false if the deadline passed first.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn wait_writable(&self, deadline: Deadline) -> Result<bool> {
        self.ring.wait_writable(deadline)
    }

    /// Has every thread that waits here look for dead processes from now on, about once a second.
    pub fn set_polls_for_dead(&self) {
        self.ring.set_polls_for_dead();
    }

    /// Returns the number of messages.
    pub fn len(&self) -> u64 {
        self.ring.len()
    }

    /// Returns true if there is no message.
    pub fn is_empty(&self) -> bool {
        self.ring.len() == 0
    }

    /// Returns true if there is no room.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Shuts the queue down; with `discard` as [`Queue::shutdown_now`](crate::Queue::shutdown_now), otherwise as
    /// [`Queue::shutdown`](crate::Queue::shutdown).
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if messages were to be discarded.
    pub fn shutdown(&self, discard: bool) -> Result<()> {
        self.ring.shutdown(discard)
    }

    /// Returns true if the queue was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.ring.is_closed()
    }

    /// Keeps track of consumers; see [`JoinableQueue::track_consumers`](crate::JoinableQueue::track_consumers).
    pub fn track_consumers(&self) {
        self.ring.track_consumers();
    }

    /// Counts a message as finished; see [`JoinableQueue::task_done`](crate::JoinableQueue::task_done).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyTasksDone`].
    pub fn task_done(&self) -> Result<()> {
        self.ring.task_done()
    }

    /// Waits until every message is finished; see [`JoinableQueue::join`](crate::JoinableQueue::join).
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::ConsumerDied`], [`Error::Interrupted`].
    pub fn join(&self, deadline: Deadline) -> Result<()> {
        self.ring.join(deadline)
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn handle(&self) -> &Handle<RingKind> {
        self.ring.handle()
    }
}

impl From<Handle<RingKind>> for RawQueue {
    fn from(handle: Handle<RingKind>) -> Self {
        Self {
            ring: Ring::from(handle),
        }
    }
}

impl Waitable for RawQueue {
    fn source(&self) -> Source<'_> {
        Source::object(&self.ring)
    }
}

/// Returns the error of a refused put: `Full` also if the deadline has passed.
fn plain(refused: Refused) -> Error {
    refused.into_error(Deadline::Now)
}

pub(super) fn number() -> u64 {
    codec::type_number::<RawQueue>()
}
