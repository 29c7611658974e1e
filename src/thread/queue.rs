//! Queues between threads.

use super::store::Store;
use crate::error::{Error, PutError, Result};
use crate::os::clock::Deadline;
use crate::queue::any_queue;
use core::fmt;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A queue: what they all can, over one store or another.
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
            /// A queue that takes any number of values.
            pub fn unbounded() -> Self {
                Self {
                    store: Arc::new(Store::new(0)),
                }
            }

            /// A queue that holds at most `capacity` values; `put` waits while it is full.
            ///
            /// # Errors
            ///
            /// [`Error::Capacity`] for 0.
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

            /// Puts `value`, waiting while the queue is full.
            ///
            /// # Errors
            ///
            /// [`PutError::ShutDown`] after a shutdown; [`PutError::Failed`] with [`Error::Interrupted`] where a hook asks
            /// for it. The value is given back.
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
                self.store.put(value, deadline)
            }

            /// Puts every value, in turn, waiting while the queue is full. Answers how many were put.
            ///
            /// # Errors
            ///
            /// As for [`put`](Self::put); the values not put are given back.
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

            /// Takes the next value, waiting for one.
            ///
            /// # Errors
            ///
            /// [`Error::ShutDown`] once the queue is shut down and empty; [`Error::Interrupted`] where a hook asks for it.
            pub fn get(&self) -> Result<T> {
                self.get_until(Deadline::Never)
            }

            /// Takes the next value if there is one.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get); [`Error::Empty`].
            pub fn try_get(&self) -> Result<T> {
                self.get_until(Deadline::Now)
            }

            /// Takes the next value, waiting for at most `timeout`.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get); [`Error::Timeout`].
            pub fn get_timeout(&self, timeout: Duration) -> Result<T> {
                self.get_until(Deadline::after(timeout))
            }

            /// Takes the next value, waiting until `deadline`.
            ///
            /// # Errors
            ///
            /// As for [`get`](Self::get); [`Error::Empty`] where the deadline is [`Deadline::Now`], or else
            /// [`Error::Timeout`].
            pub fn get_until(&self, deadline: Deadline) -> Result<T> {
                self.store.get(deadline)
            }

            /// Takes up to `max` values: waits for the first, then takes what is there.
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

            /// The values as they come, until the queue is shut down and empty.
            pub fn iter(&self) -> Iter<'_, T> {
                Iter {
                    get: Box::new(|| self.get()),
                }
            }

            /// Values in the queue; where others are at work, old news at once.
            pub fn len(&self) -> usize {
                self.store.len()
            }

            /// Whether there is no value.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether a bounded queue has no room; an unbounded one always has.
            pub fn is_full(&self) -> bool {
                self.store.is_full()
            }

            /// The most values it holds; `None` for an unbounded queue.
            pub fn capacity(&self) -> Option<usize> {
                match self.store.capacity() {
                    0 => None,
                    n => Some(n),
                }
            }

            /// Lets no more values in, for good: every later `put` fails with `ShutDown`, a waiting one too. Consumers get
            /// what is left, then [`Error::ShutDown`]; those that wait on the empty queue get it at once.
            pub fn shutdown(&self) {
                self.store.shutdown(false);
            }

            /// The same, and drops the values that are there; the work on them counts as done.
            pub fn shutdown_now(&self) {
                self.store.shutdown(true);
            }

            /// Whether it was shut down.
            pub fn is_shut_down(&self) -> bool {
                self.store.is_closed()
            }

            /// The work on one value that was taken is done.
            ///
            /// # Errors
            ///
            /// [`Error::TooManyTasksDone`] if every value put so far has had its call.
            pub fn task_done(&self) -> Result<()> {
                self.store.task_done()
            }

            /// Waits until every value that was put has been taken and had its [`task_done`](Self::task_done).
            ///
            /// # Errors
            ///
            /// [`Error::Interrupted`] where a hook asks for it.
            pub fn join(&self) -> Result<()> {
                self.join_until(Deadline::Never)
            }

            /// The same for at most `timeout`.
            ///
            /// # Errors
            ///
            /// [`Error::Timeout`]; as for [`join`](Self::join).
            pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
                self.join_until(Deadline::after(timeout))
            }

            /// The same until `deadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Timeout`]; as for [`join`](Self::join).
            pub fn join_until(&self, deadline: Deadline) -> Result<()> {
                self.store.join(deadline)
            }

            /// Values whose work is not done: those in the queue and those that consumers work on.
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
    /// A handle is cheap to clone, and all clones are the same queue. Values are moved, not encoded. The names are those of
    /// Python's `queue.Queue` where it has one.
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
    /// A queue that gives the value that was put last: for work that is best done while it is fresh.
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
    /// A queue that gives the smallest value first, as Python's does; of equal ones, any. `std::cmp::Reverse` turns it
    /// around.
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

/// Iterator over a queue's values; see [`Queue::iter`].
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
