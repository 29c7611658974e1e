//! What all queues have in common, wherever their other ends are.

use super::{JoinableQueue, PutError, Queue};
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A queue of `T`, wherever its other end is: in a thread of this process ([`thread::Queue`](crate::thread::Queue) and
/// its kin) or in other processes ([`Queue`], [`JoinableQueue`]). It is for code that works with either.
///
/// The methods are those that every queue has by itself, with the same errors. So the trait is needed only where the
/// kind of queue is open. It can be made an object: `&dyn AnyQueue<T>`, `Box<dyn AnyQueue<T>>`.
///
/// ```
/// use procession::{AnyQueue, Queue, thread};
///
/// fn sum(numbers: &dyn AnyQueue<u64>) -> u64 {
///     numbers.iter().sum() // ends once the queue is shut down and empty
/// }
///
/// let queues: [Box<dyn AnyQueue<u64>>; 2] = [Box::new(thread::Queue::unbounded()), Box::new(Queue::unbounded()?)];
/// for queue in queues {
///     queue.put_many(vec![1, 2, 3])?;
///     queue.shutdown();
///     assert_eq!(sum(&*queue), 6);
/// }
/// # Ok::<(), procession::Error>(())
/// ```
pub trait AnyQueue<T>: Send + Sync {
    /// Puts `value`, waiting for room until `deadline`.
    ///
    /// # Errors
    ///
    /// [`PutError::ShutDown`] after a shutdown; [`PutError::Full`] where the deadline is [`Deadline::Now`], or else
    /// [`PutError::Timeout`]; [`PutError::Failed`] if the value cannot be sent. The value is given back.
    fn put_until(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>>;

    /// Takes the next value, waiting until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] once the queue is shut down and empty; [`Error::Empty`] where the deadline is
    /// [`Deadline::Now`], or else [`Error::Timeout`]; [`Error::Decode`] if what came is not a `T`.
    fn get_until(&self, deadline: Deadline) -> Result<T>;

    /// Returns the number of values. With concurrent producers or consumers the value may be stale at once.
    fn len(&self) -> usize;

    /// Returns the largest number of values that it holds; `None` if there is no limit.
    fn capacity(&self) -> Option<usize>;

    /// Lets no more values in, for good. Consumers get what is left, then [`Error::ShutDown`].
    fn shutdown(&self);

    /// Shuts down as [`shutdown`](Self::shutdown) does, and drops the values that are there.
    fn shutdown_now(&self);

    /// Returns true if the queue was shut down.
    fn is_shut_down(&self) -> bool;

    /// Puts `value`, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// As for [`put_until`](Self::put_until).
    fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::Never)
    }

    /// Puts `value` if there is room.
    ///
    /// # Errors
    ///
    /// As for [`put_until`](Self::put_until).
    fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::Now)
    }

    /// Puts `value`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`put_until`](Self::put_until).
    fn put_timeout(&self, value: T, timeout: Duration) -> Result<(), PutError<T>> {
        self.put_until(value, Deadline::after(timeout))
    }

    /// Puts every value, in order, waiting while the queue is full. Returns how many were put.
    ///
    /// # Errors
    ///
    /// As for [`put_until`](Self::put_until); the values not put are given back.
    fn put_many(&self, values: Vec<T>) -> Result<usize, PutError<Vec<T>>> {
        let all = values.len();
        let mut values = values.into_iter();
        while let Some(value) = values.next() {
            self.put(value)
                .map_err(|error| error.map(|value| core::iter::once(value).chain(&mut values).collect()))?;
        }
        Ok(all)
    }

    /// Takes the next value, waiting for one.
    ///
    /// # Errors
    ///
    /// As for [`get_until`](Self::get_until).
    fn get(&self) -> Result<T> {
        self.get_until(Deadline::Never)
    }

    /// Takes the next value if there is one.
    ///
    /// # Errors
    ///
    /// As for [`get_until`](Self::get_until).
    fn try_get(&self) -> Result<T> {
        self.get_until(Deadline::Now)
    }

    /// Takes the next value, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`get_until`](Self::get_until).
    fn get_timeout(&self, timeout: Duration) -> Result<T> {
        self.get_until(Deadline::after(timeout))
    }

    /// Waits for a value, and takes up to `most` that are there.
    ///
    /// # Errors
    ///
    /// As for [`get_until`](Self::get_until).
    fn get_many(&self, most: usize) -> Result<Vec<T>> {
        let mut values = Vec::new();
        while values.len() < most {
            match if values.is_empty() {
                self.get()
            } else {
                self.try_get()
            } {
                Ok(value) => values.push(value),
                Err(error) if values.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(values)
    }

    /// Returns true if there is no value.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if there is no room. A queue without a limit always has room.
    fn is_full(&self) -> bool {
        self.capacity().is_some_and(|capacity| self.len() >= capacity)
    }

    /// Returns an iterator over the values as they come, until the queue is shut down and empty. It leaves out what
    /// does not decode.
    fn iter<'q>(&'q self) -> Box<dyn Iterator<Item = T> + 'q>
    where
        T: 'q,
    {
        Box::new(core::iter::from_fn(|| {
            loop {
                match self.get() {
                    Ok(value) => return Some(value),
                    Err(Error::Decode { .. }) => {}
                    Err(_) => return None,
                }
            }
        }))
    }
}

/// An [`AnyQueue`] that knows when all its values are finished.
///
/// ```
/// use procession::{AnyJoinableQueue, JoinableQueue, thread};
///
/// fn drain(jobs: &dyn AnyJoinableQueue<String>) -> procession::Result<()> {
///     while !jobs.is_empty() {
///         let _job = jobs.get()?;
///         jobs.task_done()?;
///     }
///     jobs.join()
/// }
///
/// let near = thread::Queue::unbounded();
/// near.put("wash up".to_owned())?;
/// drain(&near)?;
/// let far = JoinableQueue::unbounded()?;
/// far.put("sweep".to_owned())?;
/// drain(&far)?;
/// # Ok::<(), procession::Error>(())
/// ```
pub trait AnyJoinableQueue<T>: AnyQueue<T> {
    /// Counts a value as finished that was taken.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyTasksDone`] if every value put so far has had its call.
    fn task_done(&self) -> Result<()>;

    /// Waits until every value is finished.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; [`Error::ConsumerDied`] if consumers are tracked and one died.
    fn join_until(&self, deadline: Deadline) -> Result<()>;

    /// Returns the number of unfinished values.
    fn unfinished(&self) -> usize;

    /// Waits until every value is finished, for as long as it takes.
    ///
    /// # Errors
    ///
    /// As for [`join_until`](Self::join_until).
    fn join(&self) -> Result<()> {
        self.join_until(Deadline::Never)
    }

    /// Waits until every value is finished, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`join_until`](Self::join_until).
    fn join_timeout(&self, timeout: Duration) -> Result<()> {
        self.join_until(Deadline::after(timeout))
    }
}

/// Implements the traits for a type by the methods of the same names that it (or a field of it) has itself.
macro_rules! any_queue {
    ($name:ty, ($($bound:tt)*), |$queue:ident| $inner:expr) => {
        impl<T: Send + $($bound)*> $crate::queue::AnyQueue<T> for $name {
            fn put_until(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>> {
                let $queue = self;
                $inner.put_until(value, deadline)
            }
            fn put_many(&self, values: Vec<T>) -> Result<usize, PutError<Vec<T>>> {
                let $queue = self;
                $inner.put_many(values)
            }
            fn get_until(&self, deadline: Deadline) -> Result<T> {
                let $queue = self;
                $inner.get_until(deadline)
            }
            fn get_many(&self, most: usize) -> Result<Vec<T>> {
                let $queue = self;
                $inner.get_many(most)
            }
            fn len(&self) -> usize {
                let $queue = self;
                $inner.len()
            }
            fn capacity(&self) -> Option<usize> {
                let $queue = self;
                $inner.capacity()
            }
            fn shutdown(&self) {
                let $queue = self;
                $inner.shutdown();
            }
            fn shutdown_now(&self) {
                let $queue = self;
                $inner.shutdown_now();
            }
            fn is_shut_down(&self) -> bool {
                let $queue = self;
                $inner.is_shut_down()
            }
        }
    };
    (joinable $name:ty, ($($bound:tt)*)) => {
        impl<T: Send + $($bound)*> $crate::queue::AnyJoinableQueue<T> for $name {
            fn task_done(&self) -> Result<()> {
                <$name>::task_done(self)
            }
            fn join_until(&self, deadline: Deadline) -> Result<()> {
                <$name>::join_until(self, deadline)
            }
            fn unfinished(&self) -> usize {
                <$name>::unfinished(self)
            }
        }
    };
}
pub(crate) use any_queue;

any_queue!(Queue<T>, (Serialize + DeserializeOwned), |queue| queue);
any_queue!(JoinableQueue<T>, (Serialize + DeserializeOwned), |queue| **queue);
any_queue!(joinable JoinableQueue<T>, (Serialize + DeserializeOwned));
