//! A queue of values.

use super::PutError;
use super::ring::{Got, OutgoingMessage, Ring, is_inline};
use super::values::{get_value, put_value};
use crate::codec::{self, Handle, Scratch};
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use core::fmt;
use core::marker::PhantomData;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A first-in, first-out queue for any number of producers and consumers, in processes and threads alike.
///
/// A handle is a few words: clone it, hand it to a process as an argument, or send it through another queue.
///
/// * A message is in the queue entirely or not at all. When `put` has returned it is there, also if the producer is
///   killed the next moment, and every consumer sees the messages in the same order.
/// * A process killed inside `put` or `get`, at any instruction, blocks nobody for more than a second.
/// * [`shutdown`](Self::shutdown) ends a queue: consumers get what is left and then [`Error::ShutDown`], so nobody
///   counts sentinels. Where producers have handles of their [own](Self::producer), the queue ends with the last of
///   them.
///
/// Values travel by serde (postcard). A value of more than 8 KiB gets memory of its own and is copied once on each
/// side. The names are those of Python's `multiprocessing.Queue` where it has one.
///
/// ```
/// use procession::{Process, Queue};
///
/// fn square(numbers: Queue<u64>, squares: Queue<u64>) {
///     for n in numbers.iter() {
///         squares.put(n * n).unwrap();
///     }
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let (numbers, squares) = (Queue::bounded(10)?, Queue::unbounded()?);
///     let worker = Process::spawn(square, (numbers.clone(), squares.clone()))?;
///     numbers.put_many(1..=4)?;
///     numbers.shutdown();
///     worker.join()?;
///     assert_eq!(squares.get_many(10)?, [1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
pub struct Queue<T> {
    ring: Ring,
    values: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self::of(self.ring.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug(&self.ring, "Queue", f)
    }
}

impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ring.handle().serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = Handle::deserialize_as(codec::type_number::<T>(), deserializer)?;
        Ok(Self::of(Ring::from(handle)))
    }
}

impl<T> Queue<T> {
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Makes a handle to a ring whose messages are `T`s.
    pub(super) fn of(ring: Ring) -> Self {
        Self {
            ring,
            values: PhantomData,
        }
    }

    /// Makes a queue that takes any number of messages, as far as memory goes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn unbounded() -> Result<Self> {
        Ring::new(crate::program::heap()?, 0, codec::type_number::<T>()).map(Self::of)
    }

    /// Makes a queue that holds at most `capacity` messages; `put` waits while it is full.
    ///
    /// # Errors
    ///
    /// As for [`unbounded`](Self::unbounded); [`Error::Capacity`] for 0.
    pub fn bounded(capacity: usize) -> Result<Self> {
        super::bounded_ring(capacity, codec::type_number::<T>()).map(Self::of)
    }

    /// Returns the number of messages. With concurrent producers or consumers the value may be stale at once.
    pub fn len(&self) -> usize {
        self.ring.len() as usize
    }

    /// Returns true if there is no message.
    pub fn is_empty(&self) -> bool {
        self.ring.len() == 0
    }

    /// Returns true if a bounded queue has no room. An unbounded one always has.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Returns the largest number of messages that it holds; `None` for an unbounded queue.
    pub fn capacity(&self) -> Option<usize> {
        match self.ring.capacity() {
            0 => None,
            n => Some(n as usize),
        }
    }

    /// Lets no more messages in, for good. Every later `put` fails with `ShutDown`, and so does one that waits.
    /// Consumers get what is left, then [`Error::ShutDown`]. Consumers that wait on the empty queue get it at once.
    pub fn shutdown(&self) {
        super::shut(&self.ring, false);
    }

    /// Shuts down as [`shutdown`](Self::shutdown) does, and drops the messages that are there.
    pub fn shutdown_now(&self) {
        super::shut(&self.ring, true);
    }

    /// Returns true if the queue was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.ring.is_closed()
    }
}

impl<T: Serialize> Queue<T> {
    /// Puts `value` at the end, waiting while the queue is full. Once it returns, the message is in the queue.
    ///
    /// # Errors
    ///
    /// [`PutError::ShutDown`] after a shutdown; [`PutError::Failed`] if the value cannot be encoded or there is no
    /// memory. The value is given back.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::Never)
    }

    /// Puts `value` if there is room.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`PutError::Full`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::Now)
    }

    /// Puts `value`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`PutError::Timeout`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::after(timeout))
    }

    /// Puts `value`, waiting for room until `deadline`.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); [`PutError::Full`] where the deadline is [`Deadline::Now`], or else
    /// [`PutError::Timeout`].
    pub fn put_until(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
        match put_value(&self.ring, &value, deadline) {
            Ok(()) => Ok(()),
            Err(refused) => Err(refused.with(value, deadline)),
        }
    }

    /// Puts every value, in order, waiting while the queue is full. Returns how many were put.
    ///
    /// It puts many at a time where there is room, so that small ones cost less. Messages of other producers may come
    /// between.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put); the values not put are given back.
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<usize, PutError<Vec<T>>> {
        const AT_ONCE: usize = 256;
        let mut values = values.into_iter();
        let mut put = 0;
        loop {
            let batch: Vec<T> = values.by_ref().take(AT_ONCE).collect();
            if batch.is_empty() {
                return Ok(put);
            }
            put += batch.len();
            self.put_batch(batch).map_err(|error| {
                error.map(|mut rest| {
                    rest.extend(&mut values);
                    rest
                })
            })?;
        }
    }

    /// Puts the values of a batch, in order.
    fn put_batch(&self, batch: Vec<T>) -> Result<(), PutError<Vec<T>>> {
        let mut buffer = Scratch::take();
        let mut ends = Vec::with_capacity(batch.len());
        // Values that lie in the ring itself are put together. Any other value is put by itself.
        for value in &batch {
            let start = buffer.len();
            let plain = codec::encode(value, &mut buffer).is_ok_and(|objects| objects.is_empty());
            if !plain || !is_inline(buffer.len() - start) {
                buffer.truncate(start);
                break;
            }
            ends.push(buffer.len());
        }
        let mut message = OutgoingMessage::Many {
            bytes: &buffer,
            ends: &ends,
            put: 0,
        };
        let answer = self.ring.put(&mut message, Deadline::Never);
        let OutgoingMessage::Many { put, .. } = message else {
            unreachable!("it is what it was made")
        };
        let mut rest = batch.into_iter();
        rest.by_ref().take(put).for_each(drop);
        if let Err(refused) = answer {
            return Err(refused.with(rest.collect(), Deadline::Never));
        }
        let Some(special) = rest.next() else { return Ok(()) };
        if let Err(error) = self.put(special) {
            return Err(error.map(|value| core::iter::once(value).chain(rest).collect()));
        }
        // The buffer goes back before the rest is encoded.
        drop(buffer);
        self.put_batch(rest.collect())
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Takes the next message, waiting for one.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] once the queue is shut down and empty; [`Error::Decode`] if the message is not a `T`, in
    /// which case it is gone and the queue goes on.
    pub fn get(&self) -> Result<T> {
        self.get_until(Deadline::Never)
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Empty`].
    pub fn try_get(&self) -> Result<T> {
        self.get_until(Deadline::Now)
    }

    /// Takes the next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Timeout`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T> {
        self.get_until(Deadline::after(timeout))
    }

    /// Takes the next message, waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); [`Error::Empty`] where the deadline is [`Deadline::Now`], or else [`Error::Timeout`].
    pub fn get_until(&self, deadline: Deadline) -> Result<T> {
        get_value(&self.ring, deadline)
    }

    /// Waits for a message, and takes up to `most` that are there, and up to 256, in one step. A process that is killed
    /// before this returns has taken them all.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get). Messages that do not decode are left out unless none does.
    pub fn get_many(&self, most: usize) -> Result<Vec<T>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = Scratch::take();
        let got = self.ring.get_many(&mut buffer, most, Deadline::Never)?;
        let mut values = Vec::with_capacity(got.len());
        let (mut at, mut failed) = (0, None);
        for message in got {
            let value = match message {
                Got::Inline(len) => {
                    at += len;
                    codec::decode(&buffer[at - len..at])
                }
                Got::Block(block) => codec::decode_block(&block),
            };
            match value {
                Ok(value) => values.push(value),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if values.is_empty() => Err(error),
            _ => Ok(values),
        }
    }

    /// Returns an iterator over the messages as they come, until the queue is shut down and empty. It leaves out a
    /// message that does not decode: use [`get`](Self::get) where that can happen and matters.
    ///
    /// ```
    /// use procession::Queue;
    /// let queue = Queue::unbounded()?;
    /// queue.put_many(["a", "b", "c"].map(String::from))?;
    /// queue.shutdown();
    /// assert_eq!(queue.iter().collect::<String>(), "abc");
    /// # Ok::<(), procession::Error>(())
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { queue: self }
    }
}

impl<'q, T: DeserializeOwned> IntoIterator for &'q Queue<T> {
    type Item = T;
    type IntoIter = Iter<'q, T>;
    fn into_iter(self) -> Iter<'q, T> {
        self.iter()
    }
}

/// An iterator over the messages of a queue; see [`Queue::iter`].
#[derive(Debug)]
pub struct Iter<'q, T> {
    queue: &'q Queue<T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        loop {
            match self.queue.get() {
                Ok(value) => return Some(value),
                Err(Error::Decode { .. }) => {}
                Err(_) => return None,
            }
        }
    }
}
