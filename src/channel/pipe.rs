//! Pipes: two rings between two ends, or one.

use super::end;
use super::error::{RecvIntoError, SendError, copy_into};
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::object::Object;
use crate::os::clock::Deadline;
use crate::queue::ring::{Refused, Ring};
use crate::queue::{Message, bounded_ring, get_bytes, get_value, put_bytes, put_value};
use crate::select::{Source, Waitable};
use core::fmt;
use core::marker::PhantomData;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Messages a pipe has room for in each direction. Counted and not weighed, because the ring knows its count anyway, so that
/// looking for room costs nothing; enough for both sides to be at work at once, and an end to the memory that a reader who
/// has stopped can cost.
const ROOM: usize = 1000;

/// The direction that a one-way pipe does not have. There is no value of this type.
#[derive(Debug)]
pub enum OneWay {}

/// The end of a one-way pipe that writes.
pub type Sender<T> = Connection<T, OneWay>;
/// The end of a one-way pipe that reads.
pub type Receiver<T> = Connection<OneWay, T>;

/// One end of a [`pipe`]: sends values of type `S`, and receives values of type `R`.
///
/// An end is a handle like a queue: clone it, hand it to a process, send it through a queue or another pipe. It is gone when
/// the last handle to it is, in any process, dropped or dead. Then its peer receives what is left and after that
/// [`Error::Disconnected`], and can send no more ([`SendError::Broken`]). That a process was killed is noticed within about a
/// second, by whoever waits at the pipe, also if nobody joins it. Mind that a forked child has a copy of every handle its
/// parent had.
///
/// * A message arrives entirely or not at all, in order, whatever is killed at whatever moment.
/// * Any number of threads and processes may use the same end; each message goes to one of them.
/// * A message of more than 8 KiB gets memory of its own; there is no limit but memory, and none is cut short.
///
/// Values travel by serde (postcard). [`send_bytes`](Self::send_bytes) and [`recv_bytes`](Self::recv_bytes) carry bytes as
/// they are; what was sent as bytes is to be received as bytes.
pub struct Connection<S, R> {
    // Given up first: it is what the peer asks about.
    end: Object,
    inbox: Option<Ring>,
    outbox: Option<Ring>,
    heap: &'static Heap,
    types: PhantomData<fn(S) -> R>,
}

/// Two ends connected with each other, each with room for 1000 messages on their way to it; whoever is further ahead waits.
///
/// ```
/// use procession::{Connection, Process, pipe};
///
/// fn double(questions: Connection<u64, u64>) {
///     while let Ok(number) = questions.recv() {
///         questions.send(2 * number).unwrap();
///     }
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let (here, there) = pipe()?;
///     let helper = Process::spawn(double, there)?;
///     here.send(21)?;
///     assert_eq!(here.recv()?, 42);
///     drop(here); // the helper's recv ends
///     helper.join()?;
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
pub fn pipe<A, B>() -> Result<(Connection<A, B>, Connection<B, A>)> {
    pipe_bounded(ROOM)
}

/// The same with room for `capacity` messages in each direction.
///
/// ```
/// let (here, there) = procession::pipe_bounded::<u8, ()>(1)?;
/// here.send(1)?;
/// assert_eq!(here.try_send(2).unwrap_err().into_inner(), 2);
/// # drop(there);
/// # Ok::<(), procession::Error>(())
/// ```
///
/// # Errors
///
/// As for [`pipe`]; [`Error::Capacity`] for 0.
pub fn pipe_bounded<A, B>(capacity: usize) -> Result<(Connection<A, B>, Connection<B, A>)> {
    let (there, back) = (ring(capacity)?, ring(capacity)?);
    Ok((
        Connection::new(Some(back.clone()), Some(there.clone()))?,
        Connection::new(Some(there), Some(back))?,
    ))
}

/// A pipe for one direction only, with room for 1000 messages; first the end that reads, as Python has it.
///
/// ```
/// let (receiver, sender) = procession::pipe_one_way()?;
/// sender.send("whole or not at all".to_string())?;
/// drop(sender);
/// assert_eq!(receiver.recv()?, "whole or not at all");
/// assert_eq!(receiver.recv(), Err(procession::Error::Disconnected));
/// # Ok::<(), procession::Error>(())
/// ```
///
/// # Errors
///
/// As for [`pipe`].
pub fn pipe_one_way<T>() -> Result<(Receiver<T>, Sender<T>)> {
    pipe_one_way_bounded(ROOM)
}

/// The same with room for `capacity` messages.
///
/// # Errors
///
/// As for [`pipe_bounded`].
pub fn pipe_one_way_bounded<T>(capacity: usize) -> Result<(Receiver<T>, Sender<T>)> {
    let ring = ring(capacity)?;
    Ok((
        Connection::new(Some(ring.clone()), None)?,
        Connection::new(None, Some(ring))?,
    ))
}

fn ring(capacity: usize) -> Result<Ring> {
    // What its messages are is known by the ends' types.
    let ring = bounded_ring(capacity, 0)?;
    ring.set_polls_for_dead();
    Ok(ring)
}

impl<S, R> Connection<S, R> {
    fn new(inbox: Option<Ring>, outbox: Option<Ring>) -> Result<Self> {
        let heap = crate::program::heap()?;
        Ok(Self {
            end: end::make(heap, inbox.as_ref(), outbox.as_ref(), Self::number())?,
            inbox,
            outbox,
            heap,
            types: PhantomData,
        })
    }

    fn number() -> u64 {
        codec::type_number::<Self>()
    }

    /// Gives up this handle. The peer sees the end when the last handle to this end is gone.
    pub fn close(self) {}
}

impl<S: Serialize, R> Connection<S, R> {
    /// Sends `value`, waiting while there is no room. Once it returns, the message is there for the peer, also if this
    /// process is killed the next moment.
    ///
    /// # Errors
    ///
    /// [`SendError::Broken`] if the other end is gone; [`SendError::Failed`] if the value cannot be encoded or there is no
    /// memory. The value is given back.
    pub fn send(&self, value: S) -> Result<(), SendError<S>> {
        self.send_until(value, Deadline::Never)
    }

    /// Sends `value` if there is room.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); [`SendError::Full`].
    pub fn try_send(&self, value: S) -> Result<(), SendError<S>> {
        self.send_until(value, Deadline::Now)
    }

    /// Sends `value`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send); [`SendError::Timeout`].
    pub fn send_timeout(&self, value: S, timeout: Duration) -> Result<(), SendError<S>> {
        self.send_until(value, Deadline::after(timeout))
    }

    fn send_until(&self, value: S, deadline: Deadline) -> Result<(), SendError<S>> {
        let sent = match &self.outbox {
            Some(outbox) => put_value(outbox, &value, deadline),
            None => Err(Refused::ShutDown),
        };
        sent.map_err(|refused| SendError::new(value, refused, deadline))
    }

    /// Sends `bytes` as they are, waiting while there is no room.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenPipe`] if the other end is gone; [`Error::OutOfMemory`], [`Error::TooLarge`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_until(bytes, Deadline::Never)
    }

    /// Sends `bytes` if there is room.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Full`].
    pub fn try_send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_bytes_until(bytes, Deadline::Now)
    }

    /// Sends `bytes`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Timeout`].
    pub fn send_bytes_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.send_bytes_until(bytes, Deadline::after(timeout))
    }

    fn send_bytes_until(&self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        let sent = match &self.outbox {
            Some(outbox) => put_bytes(outbox, bytes, deadline),
            None => Err(Refused::ShutDown),
        };
        sent.map_err(|refused| SendError::new((), refused, deadline).into())
    }
}

impl<S, R: DeserializeOwned> Connection<S, R> {
    fn inbox(&self) -> Result<&Ring> {
        self.inbox.as_ref().ok_or(Error::Disconnected)
    }

    /// Receives the next message, waiting for one.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] once the other end is gone and everything it sent was received; [`Error::Decode`] if the message
    /// is not an `R`, in which case it is gone and the pipe goes on.
    pub fn recv(&self) -> Result<R> {
        get_value(self.inbox()?, Deadline::Never).map_err(at_end)
    }

    /// Receives the next message if there is one.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv); [`Error::Empty`].
    pub fn try_recv(&self) -> Result<R> {
        get_value(self.inbox()?, Deadline::Now).map_err(at_end)
    }

    /// Receives the next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv); [`Error::Timeout`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R> {
        get_value(self.inbox()?, Deadline::after(timeout)).map_err(at_end)
    }

    /// Waits for at most `timeout` until a `recv` would not wait; whether it would not. The end counts: then the `recv`
    /// fails at once.
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
    /// [`Error::Interrupted`] where a hook asks for it.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        let deadline = match timeout {
            Duration::ZERO => Deadline::Now,
            timeout => Deadline::after(timeout),
        };
        self.inbox()?.wait_readable(deadline)
    }

    /// Receives the next message as the bytes it is made of, waiting for one. A large one is lent where it is.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Self::recv).
    pub fn recv_bytes(&self) -> Result<Message> {
        get_bytes(self.inbox()?, Deadline::Never).map_err(at_end)
    }

    /// The same if there is one.
    ///
    /// # Errors
    ///
    /// As for [`try_recv`](Self::try_recv).
    pub fn try_recv_bytes(&self) -> Result<Message> {
        get_bytes(self.inbox()?, Deadline::Now).map_err(at_end)
    }

    /// The same, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`recv_timeout`](Self::recv_timeout).
    pub fn recv_bytes_timeout(&self, timeout: Duration) -> Result<Message> {
        get_bytes(self.inbox()?, Deadline::after(timeout)).map_err(at_end)
    }

    /// Receives the next message into the front of `buffer`, waiting for one; answers its length.
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
    /// [`RecvIntoError::TooShort`] if the buffer is too short; it has the message. As for [`recv`](Self::recv) otherwise.
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        let message = self.recv_bytes().map_err(RecvIntoError::Failed)?;
        copy_into(message, buffer)
    }
}

/// Turns the end of the ring into the pipe's word for it.
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
        // To receive from an end that only sends fails at once.
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
