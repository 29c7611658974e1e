//! The handle to a pipe's end, which sends and receives.

use super::end;
use crate::codec;
use crate::error::{Error, RecvIntoError, Result, SendError, copy_into};
use crate::heap::Heap;
use crate::heap::object::Object;
use crate::os::clock::Deadline;
use crate::queue::ring::{Refused, Ring};
use crate::queue::{Message, get_bytes, get_value, put_bytes, put_value};
use crate::select::{Source, Waitable};
use core::fmt;
use core::marker::PhantomData;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// The type of the direction that a one-way pipe does not have. This type has no values.
#[derive(Debug)]
pub enum OneWay {}

/// The sending end of a one-way pipe.
pub type Sender<T> = Connection<T, OneWay>;
/// The receiving end of a one-way pipe.
pub type Receiver<T> = Connection<OneWay, T>;

/// One end of a [`pipe`](crate::pipe()): sends values of type `S`, and receives values of type `R`.
///
/// This is a handle, like a queue: clone it, pass it to a process, or send it through a queue or another pipe. The end
/// is gone when its last handle is gone, in any process, dropped or dead with the process. Then the peer receives what
/// is left, and after that [`Error::Disconnected`], and cannot send any more ([`SendError::Broken`]). When a process
/// was killed, a peer that waits at the pipe notices within about a second, even if no process joins the killed one.
/// Note that a forked child has a copy of every handle of its parent.
///
/// * A message arrives whole or not at all, and in order, whatever process is killed at whatever moment.
/// * Any number of threads and processes may use the same end. Each message is received by one of them.
/// * A message of more than 8 KiB gets memory of its own. Only memory limits its size.
///
/// Values are encoded with serde (postcard). [`send_bytes`](Self::send_bytes) and [`recv_bytes`](Self::recv_bytes)
/// carry plain bytes: receive with `recv_bytes` what was sent with `send_bytes`.
pub struct Connection<S, R> {
    // Dropped before the rings: clearing the end is what tells the peer.
    end: Object,
    inbox: Option<Ring>,
    outbox: Option<Ring>,
    heap: &'static Heap,
    types: PhantomData<fn(S) -> R>,
}

impl<S, R> Connection<S, R> {
    /// Makes an end of these rings.
    pub(super) fn new(inbox: Option<Ring>, outbox: Option<Ring>) -> Result<Self> {
        let heap = crate::program::heap()?;
        Ok(Self {
            end: end::make(heap, inbox.as_ref(), outbox.as_ref(), Self::number())?,
            inbox,
            outbox,
            heap,
            types: PhantomData,
        })
    }

    /// Returns the number of the message types, which a received handle is checked against.
    fn number() -> u64 {
        codec::type_number::<Self>()
    }

    /// Drops this handle. The peer receives [`Error::Disconnected`] when the last handle to this end is gone.
    pub fn close(self) {}
}

impl<S: Serialize, R> Connection<S, R> {
    /// Sends `value`, and waits while there is no room. After it returned, the peer can receive the message even if
    /// this process is killed at once.
    ///
    /// # Errors
    ///
    /// [`SendError::Broken`] if the other end is gone; [`SendError::Failed`] if the value cannot be encoded or there is
    /// no memory. The value is given back.
    pub fn send(&self, value: S) -> Result<(), SendError<S>> {
        self.send_until(value, Deadline::Never)
    }

    /// Sends `value` if there is room, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); [`SendError::Full`].
    pub fn try_send(&self, value: S) -> Result<(), SendError<S>> {
        self.send_until(value, Deadline::Now)
    }

    /// Sends `value`, and waits for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); [`SendError::Timeout`].
    pub fn send_timeout(&self, value: S, timeout: Duration) -> Result<(), SendError<S>> {
        self.send_until(value, Deadline::after(timeout))
    }

    /// Sends `value`, and waits for room until `deadline`.
    fn send_until(&self, value: S, deadline: Deadline) -> Result<(), SendError<S>> {
        let sent = match &self.outbox {
            Some(outbox) => put_value(outbox, &value, deadline),
            None => Err(Refused::ShutDown),
        };
        sent.map_err(|refused| not_sent(value, refused, deadline))
    }

    /// Sends `bytes` without encoding, and waits while there is no room.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenPipe`] if the other end is gone; [`Error::OutOfMemory`], [`Error::TooLarge`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_until(bytes, Deadline::Never)
    }

    /// Sends `bytes` if there is room, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Full`].
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_until(bytes, Deadline::Now)
    }

    /// Sends `bytes`, and waits for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Timeout`].
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.send_bytes_until(bytes, Deadline::after(timeout))
    }

    /// Sends `bytes`, and waits for room until `deadline`.
    fn send_bytes_until(&self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        let sent = match &self.outbox {
            Some(outbox) => put_bytes(outbox, bytes, deadline),
            None => Err(Refused::ShutDown),
        };
        sent.map_err(|refused| not_sent((), refused, deadline).into())
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    /// Returns the ring to receive from. An end that only sends has none.
    fn inbox(&self) -> Result<&Ring> {
        self.inbox.as_ref().ok_or(Error::Disconnected)
    }

    /// Receives the next message, and waits for one.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the other end is gone and everything it sent was received. [`Error::Decode`] if the
    /// message is not an `R`; the message is then dropped, and the pipe can still be used.
    pub fn recv(&self) -> Result<R> {
        get_value(self.inbox()?, Deadline::Never).map_err(at_end)
    }

    /// Receives the next message if there is one, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv); [`Error::Empty`].
    pub fn try_recv(&self) -> Result<R> {
        get_value(self.inbox()?, Deadline::Now).map_err(at_end)
    }

    /// Receives the next message, and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv); [`Error::Timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R> {
        get_value(self.inbox()?, Deadline::after(timeout)).map_err(at_end)
    }

    /// Waits for at most `timeout` until there is a message or the other end is gone. Returns whether one of them is
    /// so, which means that a `recv` would not wait.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let (receiver, sender) = procession::pipe_one_way::<u8>()?;
    /// assert!(!receiver.poll(Duration::ZERO)?);
    /// drop(sender);
    /// assert!(receiver.poll(Duration::ZERO)?);
    /// # Ok::<(), procession::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) ends the wait.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        let deadline = match timeout {
            Duration::ZERO => Deadline::Now,
            timeout => Deadline::after(timeout),
        };
        self.inbox()?.wait_readable(deadline)
    }

    /// Receives the next message without decoding, and waits for one. A large message is not copied: [`Message`] refers
    /// to it in shared memory.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    pub fn recv_bytes(&self) -> Result<Message> {
        get_bytes(self.inbox()?, Deadline::Never).map_err(at_end)
    }

    /// Receives the next message like [`recv_bytes`](Self::recv_bytes) if there is one, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn try_recv_bytes(&self) -> Result<Message> {
        get_bytes(self.inbox()?, Deadline::Now).map_err(at_end)
    }

    /// Receives the next message like [`recv_bytes`](Self::recv_bytes), and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`recv_timeout`](Self::recv_timeout).
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Message> {
        get_bytes(self.inbox()?, Deadline::after(timeout)).map_err(at_end)
    }

    /// Receives the next message into the front of `buffer`, and waits for one. Returns the message's length.
    ///
    /// ```
    /// use procession::{RecvIntoError, pipe_one_way};
    /// let (receiver, sender) = pipe_one_way::<()>()?;
    /// sender.send_bytes(b"too long")?;
    /// match receiver.recv_bytes_into(&mut [0; 4]) {
    ///     Err(RecvIntoError::TooShort { message, .. }) => assert_eq!(&*message, b"too long"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), procession::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::TooShort`] if the message is longer than the buffer; the error has the message. Otherwise as
    /// for [`recv`](Self::recv).
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError<Message>> {
        let message = self.recv_bytes().map_err(RecvIntoError::Failed)?;
        copy_into(message, buffer)
    }
}

/// Returns the pipe's error for a `value` that the ring refused.
fn not_sent<T>(value: T, refused: Refused, deadline: Deadline) -> SendError<T> {
    match refused {
        Refused::ShutDown => SendError::Broken(value),
        Refused::Full if deadline == Deadline::Now => SendError::Full(value),
        Refused::Full => SendError::Timeout(value),
        Refused::Failed(error) => SendError::Failed(value, error),
    }
}

/// Turns the error of a ring that is shut down and empty into the pipe's error.
fn at_end(error: Error) -> Error {
    match error {
        Error::ShutDown => Error::Disconnected,
        error => error,
    }
}

impl<S, R> Clone for Connection<S, R> {
    fn clone(&self) -> Self {
        Self {
            end: self.end.clone(),
            inbox: self.inbox.clone(),
            outbox: self.outbox.clone(),
            heap: self.heap,
            types: PhantomData,
        }
    }
}

impl<S, R> Waitable for Connection<S, R> {
    fn source(&self) -> Source<'_> {
        // Receiving from an end that only sends fails at once, so such an end is always ready.
        self.inbox
            .as_ref()
            .map_or(Source::ALWAYS, |ring| Source::object(ring))
    }
}

impl<S, R> fmt::Debug for Connection<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = |ring: &Option<Ring>| ring.as_ref().map(|ring| ring.len());
        f.debug_struct("Connection")
            .field("incoming", &waiting(&self.inbox))
            .field("outgoing", &waiting(&self.outbox))
            .finish_non_exhaustive()
    }
}

impl<S, R> Serialize for Connection<S, R> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        codec::serialize_handle(&self.end, self.heap, serializer)
    }
}

impl<'de, S, R> Deserialize<'de> for Connection<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (end, heap) = codec::deserialize_handle(&end::END, Self::number(), deserializer)?;
        let [inbox, outbox] = end::rings(heap, &end).map_err(D::Error::custom)?;
        Ok(Self {
            end,
            inbox,
            outbox,
            heap,
            types: PhantomData,
        })
    }
}
