//! Queues between threads: first in first out, last in first out, and by priority.

use super::store::Store;
use crate::error::{Error, PutError, Result};
use crate::os::clock::Deadline;
use crate::queue::any_queue;
use core::fmt;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Defines a queue type over a store with the order `$order`.
macro_rules! queue {
    ($(#[$doc:meta])* $name:ident, ($($bound:tt)*), $order:ty) => {
        $(#[$doc])*
        pub struct $name<T> {
            store: Arc<Store<$order>>,
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self {
                    store: self.store.clone(),
                }
            }
        }

        impl<T: $($bound)*> $name<T> {
            /// Makes a queue for any number of values.
            pub fn unbounded() -> Self {
                Self {
                    store: Arc::new(Store::new(0)),
                }
            }

            /// Makes a queue for at most `capacity` values. `put` waits while it is full.
            ///
            /// # Errors
            ///
            /// [`Error::Capacity`] if `capacity` is 0.
            pub fn bounded(capacity: usize) -> Result<Self> {
                if capacity == 0 {
                    return Err(Error::Capacity {
                        given: 0,
                        max: usize::MAX as u64,
                    });
                }
                Ok(Self {
                    store: Arc::new(Store::new(capacity)),
                })
            }

            /// Puts `value`, and waits while the queue is full.
            ///
            /// # Errors
            ///
            /// [`PutError::ShutDown`] after a shutdown. [`PutError::Failed`] with [`Error::Interrupted`] if the hook of
            /// [`on_interrupt`](crate::on_interrupt) ends the wait. The error gives the value back.
            pub fn put(&self, value: T) -> Result<(), PutError<T>> {
                self.put_until(value, Deadline::Never)
            }

            /// Puts `value` if there is room, without waiting.
            ///
            /// # Errors
            ///
            /// As for [`put`](Self::put); [`PutError::Full`].
            pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
                self.put_until(value, Deadline::Now)
            }

            /// Puts `value`, and waits for room for at most `timeout`.
            ///
            /// # Errors
            ///
            /// As for [`put`](Self::put); [`PutError::Timeout`].
            pub fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
                self.put_until(value, Deadline::after(timeout))
            }

            /// Puts `value`, and waits for room until `deadline`.
            ///
            /// # Errors
            ///
            /// As for [`put`](Self::put); [`PutError::Full`] if the deadline is [`Deadline::Now`], otherwise
            /// [`PutError::Timeout`].
            pub fn put_until(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
                self.store.put(value, deadline)
            }

            /// Puts the values one after the other, and waits while the queue is full. Returns how many were put.
            ///
            /// # Errors
            ///
            /// As for [`put`](Self::put); the error gives back the values that were not put.
            pub fn put_many(&self, values: impl IntoIterator<Item = T>) -> Result<usize, PutError<Vec<T>>> {
                let mut values = values.into_iter();
                let mut put = 0;
                while let Some(value) = values.next() {
                    self.put(value)
                        .map_err(|error| error.map(|value| core::iter::once(value).chain(&mut values).collect()))?;
                    put += 1;
                }
                Ok(put)
            }

            /// Takes the next value, and waits for one.
            ///
            /// # Errors
            ///
            /// [`Error::ShutDown`] if the queue is shut down and empty. [`Error::Interrupted`] if the hook of
            /// [`on_interrupt`](crate::on_interrupt) ends the wait.
            pub fn get(&self) -> Result<T> {
                self.get_until(Deadline::Never)
            }

            /// Takes the next value if there is one, without waiting.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get); [`Error::Empty`].
            pub fn try_get(&self) -> Result<T> {
                self.get_until(Deadline::Now)
            }

            /// Takes the next value, and waits for at most `timeout`.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get); [`Error::Timeout`].
            pub fn get_timeout(&self, timeout: Duration) -> Result<T> {
                self.get_until(Deadline::after(timeout))
            }

            /// Takes the next value, and waits until `deadline`.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get); [`Error::Empty`] if the deadline is [`Deadline::Now`], otherwise
            /// [`Error::Timeout`].
            pub fn get_until(&self, deadline: Deadline) -> Result<T> {
                self.store.get(deadline)
            }

            /// Takes up to `max` values: waits for the first, and then takes those that are there.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get).
            pub fn get_many(&self, max: usize) -> Result<Vec<T>> {
                if max == 0 {
                    return Ok(Vec::new());
                }
                let mut values = vec![self.get()?];
                while values.len() < max
                    && let Ok(value) = self.try_get()
                {
                    values.push(value);
                }
                Ok(values)
            }

            /// Returns an iterator that takes values, and waits for them, until the queue is shut down and empty.
            pub fn iter(&self) -> Iter<'_, T> {
                Iter {
                    get: Box::new(|| self.get()),
                }
            }

            /// Returns the number of values in the queue. While other threads use the queue, it may be outdated at
            /// once.
            pub fn len(&self) -> usize {
                self.store.len()
            }

            /// Returns whether the queue has no values.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Returns whether a bounded queue has no room. An unbounded queue always has room.
            pub fn is_full(&self) -> bool {
                self.store.is_full()
            }

            /// Returns the largest number of values that the queue holds, `None` for an unbounded queue.
            pub fn capacity(&self) -> Option<usize> {
                match self.store.capacity() {
                    0 => None,
                    n => Some(n),
                }
            }

            /// Shuts the queue down for good. Every later `put` fails with [`PutError::ShutDown`], and so does every
            /// waiting one. Consumers get the values that are left, and then [`Error::ShutDown`].
            pub fn shutdown(&self) {
                self.store.shutdown(false);
            }

            /// Shuts the queue down like [`shutdown`](Self::shutdown), and drops the values in it. The work on them
            /// counts as done.
            pub fn shutdown_now(&self) {
                self.store.shutdown(true);
            }

            /// Returns whether the queue was shut down.
            pub fn is_shut_down(&self) -> bool {
                self.store.is_closed()
            }

            /// Counts the work on one value that was taken as done.
            ///
            /// # Errors
            ///
            /// [`Error::TooManyTasksDone`] if it was called for every value already.
            pub fn task_done(&self) -> Result<()> {
                self.store.task_done()
            }

            /// Waits until every value was taken, and [`task_done`](Self::task_done) was called for it.
            ///
            /// # Errors
            ///
            /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) ends the wait.
            pub fn join(&self) -> Result<()> {
                self.join_until(Deadline::Never)
            }

            /// Waits like [`join`](Self::join), for at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`Error::Timeout`]; as for [`join`](Self::join).
            pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
                self.join_until(Deadline::after(timeout))
            }

            /// Waits like [`join`](Self::join), until `deadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Timeout`]; as for [`join`](Self::join).
            pub fn join_until(&self, deadline: Deadline) -> Result<()> {
                self.store.join(deadline)
            }

            /// Returns the number of values whose work is not done: those in the queue, and those that consumers have
            /// taken.
            pub fn unfinished(&self) -> usize {
                self.store.unfinished()
            }
        }

        impl<T: $($bound)*> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .field("shut_down", &self.is_shut_down())
                    .finish()
            }
        }

        impl<'q, T: $($bound)*> IntoIterator for &'q $name<T> {
            type Item = T;
            type IntoIter = Iter<'q, T>;
            fn into_iter(self) -> Iter<'q, T> {
                self.iter()
            }
        }

        any_queue!($name<T>, ($($bound)*), |queue| queue);
        any_queue!(joinable $name<T>, ($($bound)*));
    };
}

queue!(
    /// A first-in, first-out queue for any number of producers and consumers in the threads of this process.
    ///
    /// A handle is cheap to clone, and all clones are the same queue. Values are moved, not encoded. Names are those of
    /// Python's `queue.Queue`, where that has the function.
    ///
    /// ```
    /// use procession::thread::{Queue, Thread};
    ///
    /// let numbers = Queue::bounded(10)?;
    /// let squares = Thread::spawn({
    ///     let numbers = numbers.clone();
    ///     move || numbers.iter().map(|n: u64| n * n).collect::<Vec<_>>()
    /// })?;
    /// numbers.put_many(1..=4)?;
    /// numbers.shutdown();
    /// assert_eq!(squares.join()?, [1, 4, 9, 16]);
    /// # Ok::<(), procession::Error>(())
    /// ```
    Queue,
    (Sized),
    VecDeque<T>
);

queue!(
    /// A last-in, first-out queue: consumers get the value that was put last.
    ///
    /// ```
    /// use procession::thread::LifoQueue;
    /// let plates = LifoQueue::unbounded();
    /// plates.put_many(["bottom", "middle", "top"])?;
    /// assert_eq!(plates.get()?, "top");
    /// # Ok::<(), procession::Error>(())
    /// ```
    LifoQueue,
    (Sized),
    Vec<T>
);

queue!(
    /// A priority queue: consumers get the smallest value first, as in Python. The order of equal values is not
    /// defined. For the largest first, wrap values in [`std::cmp::Reverse`].
    ///
    /// ```
    /// use procession::thread::PriorityQueue;
    /// let jobs = PriorityQueue::unbounded();
    /// jobs.put_many([(3, "sweep"), (1, "fire"), (2, "cook")])?;
    /// jobs.shutdown();
    /// assert_eq!(jobs.iter().map(|(_, job)| job).collect::<Vec<_>>(), ["fire", "cook", "sweep"]);
    /// # Ok::<(), procession::Error>(())
    /// ```
    PriorityQueue,
    (Ord),
    BinaryHeap<Reverse<T>>
);

/// An iterator over a queue's values. See [`Queue::iter`].
pub struct Iter<'q, T> {
    get: Box<dyn Fn() -> Result<T> + 'q>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        (self.get)().ok()
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
