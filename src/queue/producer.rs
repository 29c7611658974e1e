//! What ends a queue with its last producer.
//!
//! All producers of a queue share one *token*, an object that refers to the ring. Its last reference goes when the last
//! handle is dropped, or when the last process that has one is cleared up after. Then the ring is shut down. The ring
//! knows its token without a reference to it. README.md beside this file tells the steps.

use super::PutError;
use super::kind::shut;
use super::ring::Ring;
use super::typed::Queue;
use super::view::View;
use crate::codec::{self, Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::layout::{Head, Off, SERIAL};
use crate::heap::object::{Facts, ObjectKind, SharedLayout, refer};
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use core::fmt;
use core::mem::offset_of;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A token in shared memory.
#[repr(C, align(64))]
pub(crate) struct ProducersLayout {
    head: Head,
    /// The ring; 0 if this is not, or no longer, the token of a ring.
    ring: AtomicU64,
    _line: [u64; 3],
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for ProducersLayout {}

const RING: Off = offset_of!(ProducersLayout, ring) as Off;

/// What the ring holds in place of a token that is gone. (No object has an odd offset.)
const ENDED: u64 = 1;

/// The kind of every token.
pub(crate) const PRODUCERS: ObjectKind = ObjectKind {
    number: 14,
    name: "producers",
    // The ring repairs itself: each process that has the token has the ring, too.
    on_holder_death: |_, _, _, _| Ok(()),
    clear,
    describe: |heap, off| {
        let ring = heap.shared::<ProducersLayout>(off).ring.load(Ordering::Relaxed);
        let queue = if ring == 0 {
            0
        } else {
            heap.word(ring + SERIAL).load(Ordering::Relaxed)
        };
        Facts::of([("queue", queue)])
    },
};

/// Names the kind for [`Handle`].
pub(crate) enum ProducersKind {}

impl SharedKind for ProducersKind {
    type Layout = ProducersLayout;
    const KIND: &'static ObjectKind = &PRODUCERS;
}

/// Shuts the ring down. The last reference to its token is gone: nothing more will be put.
fn clear(heap: &Heap, off: Off) -> Result<()> {
    let ring = heap.word(off + RING).load(Ordering::Acquire);
    if ring == 0 {
        return Ok(());
    }
    shut(heap, ring, false)?;
    let known = View::of(heap, ring).producers();
    heap.transact(|tx| {
        if tx.get(known) == off {
            tx.set(known, ENDED);
        }
        Ok(())
    })?;
    heap.drop_reference(off + RING)
}

/// A reference to a token.
#[derive(Clone, Debug)]
pub(crate) struct Token(Handle<ProducersKind>);

impl From<Handle<ProducersKind>> for Token {
    fn from(handle: Handle<ProducersKind>) -> Self {
        Self(handle)
    }
}

impl Token {
    /// Returns the token of `ring`, and makes it if there is none. `typed` is the number of the type of its messages.
    pub(crate) fn of(ring: &Ring, typed: u64) -> Result<Self> {
        let heap = ring.heap();
        let known = ring.producers();
        // A producer that a consumer waits for may be dead.
        ring.set_polls_for_dead();
        loop {
            if ring.is_closed() {
                return Err(Error::ShutDown);
            }
            if heap.word(known).load(Ordering::Acquire) != 0 {
                let token = heap.acquire_uncounted(known)?;
                let token = token.ok_or(Error::ShutDown)?;
                return Ok(Self(Handle::from_object(heap, token)));
            }
            let new = Handle::make(heap, size_of::<ProducersLayout>() as u64, typed)?;
            let first = heap.transact(|tx| {
                let first = tx.get(known) == 0;
                if first {
                    refer(tx, ring.object().off());
                    tx.set(new.off() + RING, ring.object().off());
                    tx.set(known, new.off());
                }
                Ok(first)
            })?;
            if first {
                return Ok(Self(new));
            }
        }
    }

    pub(crate) fn handle(&self) -> &Handle<ProducersKind> {
        &self.0
    }

    /// Returns the ring that this is the token of.
    fn ring(&self) -> Result<Ring> {
        let heap = self.0.heap();
        match self.0.layout().ring.load(Ordering::Acquire) {
            0 => Err(Error::ShutDown),
            ring => Ok(Ring::from_object(heap, heap.acquire(ring)?)),
        }
    }
}

impl<T> Queue<T> {
    /// Returns a handle for a producer. From the first such handle on, the queue ends with its last producer: when the
    /// last of these handles is dropped, or the process that has it is dead, the queue is [shut down](Self::shutdown).
    /// So no call of `shutdown` can be forgotten, and consumers do not wait for producers that were killed.
    ///
    /// Plain handles may go on putting until then, and do not count.
    ///
    /// ```
    /// use procession::{Process, Producer, Queue};
    ///
    /// fn count(numbers: Producer<u32>, to: u32) {
    ///     numbers.put_many(0..to).unwrap();
    /// }
    ///
    /// #[procession::main]
    /// fn main() -> procession::Result<()> {
    ///     let numbers = Queue::unbounded()?;
    ///     let producer = numbers.producer()?;
    ///     for to in [3, 4] {
    ///         Process::spawn(count, (producer.clone(), to))?;
    ///     }
    ///     drop(producer); // from here on, only the two processes have one
    ///     assert_eq!(numbers.iter().count(), 7);
    ///     assert!(numbers.producer().is_err());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] once the queue is shut down, in whatever way; [`Error::OutOfMemory`].
    pub fn producer(&self) -> Result<Producer<T>> {
        Producer::of(self)
    }
}

/// A handle to a [`Queue`] that only puts. When the last one is dropped, or the process that has it is dead (also
/// killed), the queue is shut down: consumers get what is left and then [`Error::ShutDown`]. See [`Queue::producer`].
///
/// Clone it, hand it to a process, send it through a queue or a pipe: on its way it counts like any other. A thread
/// that waits at the queue notices within about a second that a process was killed. Mind that a forked child has a copy
/// of every handle that its parent had.
pub struct Producer<T> {
    // Dropped first: consumers wait for that.
    token: Token,
    queue: Queue<T>,
}

impl<T> Producer<T> {
    pub(super) fn of(queue: &Queue<T>) -> Result<Self> {
        Ok(Self {
            token: Token::of(queue.ring(), codec::type_number::<T>())?,
            queue: queue.clone(),
        })
    }

    /// Returns true if the queue was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.queue.is_shut_down()
    }

    /// Gives up this handle, as dropping it does.
    pub fn close(self) {}
}

impl<T: Serialize> Producer<T> {
    /// Puts `value`; see [`Queue::put`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::put`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.put(value)
    }

    /// Puts `value` if there is room; see [`Queue::try_put`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::try_put`].
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.try_put(value)
    }

    /// Puts `value`, waiting for at most `timeout`; see [`Queue::put_timeout`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::put_timeout`].
    pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.queue.put_timeout(value, timeout)
    }

    /// Puts `value`, waiting until `deadline`; see [`Queue::put_until`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::put_until`].
    pub fn put_until(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
        self.queue.put_until(value, deadline)
    }

    /// Puts every value, in order; see [`Queue::put_many`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::put_many`].
    pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<usize, PutError<Vec<T>>> {
        self.queue.put_many(values)
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            token: self.token.clone(),
            queue: self.queue.clone(),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug(self.queue.ring(), "Producer", f)
    }
}

impl<T> Serialize for Producer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.token.handle().serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Producer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token = Token(Handle::deserialize_as(codec::type_number::<T>(), deserializer)?);
        let ring = token.ring().map_err(D::Error::custom)?;
        Ok(Self {
            token,
            queue: Queue::of(ring),
        })
    }
}
