//! A queue of bytes and parcels.

use super::parcel::Parcel;
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::object::Object;
use crate::os::clock::Deadline;
use crate::queue::ring::{Got, OutgoingMessage, Refused, Ring, is_inline};
use crate::select::{Source, Waitable};

/// The queue under a front door's queues; see [`Queue`](crate::Queue) for what it promises.
#[derive(Clone, Debug)]
pub struct RawQueue {
    ring: Ring,
}

/// A message that was taken.
#[derive(Debug)]
pub enum Received {
    /// So many bytes, appended to the buffer.
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
    /// A new one for at most `capacity` messages, 0 for any number.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::Capacity`], or what the system said when shared memory was set up.
    pub fn new(capacity: u64) -> Result<Self> {
        Ok(Self {
            ring: Ring::new(crate::program::heap()?, capacity, number())?,
        })
    }

    /// Whether a message of `len` bytes is better put as bytes than as a parcel.
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

    /// Puts a parcel, which is given back where that fails.
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

    /// Puts small messages that stand one behind the other in `bytes`, ending at `ends`; how many of them, and how it
    /// ended.
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

    /// Waits for the first message, then takes what is there, up to `most`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_many(&self, buffer: &mut Vec<u8>, most: usize, deadline: Deadline) -> Result<Vec<Received>> {
        let got = self.ring.get_many(buffer, most, deadline)?;
        Ok(got.into_iter().map(Received::from).collect())
    }

    /// Whether there seems to be a message, for a look or two before waiting for one.
    #[inline]
    pub fn may_have_message(&self) -> bool {
        self.ring.may_have_message()
    }

    /// Waits until a `get` would not wait; false where the deadline came first.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn wait_readable(&self, deadline: Deadline) -> Result<bool> {
        self.ring.wait_readable(deadline)
    }

    /// Waits until a `put` would not wait; false where the deadline came first.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn wait_writable(&self, deadline: Deadline) -> Result<bool> {
        self.ring.wait_writable(deadline)
    }

    /// From now on, whoever waits here sees to it that deaths are noticed within about a second.
    pub fn set_polls_for_dead(&self) {
        self.ring.set_polls_for_dead();
    }

    /// Messages in the queue.
    pub fn len(&self) -> u64 {
        self.ring.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ring.len() == 0
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// See [`Queue::shutdown`](crate::Queue::shutdown) and `shutdown_now`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] where messages were to be discarded.
    pub fn shutdown(&self, discard: bool) -> Result<()> {
        self.ring.shutdown(discard)
    }

    /// Whether it was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.ring.is_closed()
    }

    /// See [`JoinableQueue::track_consumers`](crate::JoinableQueue::track_consumers).
    pub fn track_consumers(&self) {
        self.ring.track_consumers();
    }

    /// See [`JoinableQueue::task_done`](crate::JoinableQueue::task_done).
    ///
    /// # Errors
    ///
    /// [`Error::TooManyTasksDone`].
    pub fn task_done(&self) -> Result<()> {
        self.ring.task_done()
    }

    /// See [`JoinableQueue::join`](crate::JoinableQueue::join).
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::ConsumerDied`], [`Error::Interrupted`].
    pub fn join(&self, deadline: Deadline) -> Result<()> {
        self.ring.join(deadline)
    }

    pub(super) fn object(&self) -> &Object {
        self.ring.object()
    }

    pub(super) fn from_object(heap: &'static Heap, object: Object) -> Self {
        Self {
            ring: Ring::from_object(heap, object),
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
