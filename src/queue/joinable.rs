//! A queue that knows when all its messages are finished.

use super::typed::Queue;
use crate::error::Result;
use crate::os::clock::Deadline;
use core::fmt;
use core::ops::Deref;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A [`Queue`] that knows when the work on all its messages is done: consumers call [`task_done`](Self::task_done) for
/// each message they took, and [`join`](Self::join) waits until every message has had its call.
///
/// A consumer that dies before `task_done` leaves its message unfinished: [track](Self::track_consumers) consumers where
/// that can happen, or give `join` a deadline.
///
/// ```
/// use procession::JoinableQueue;
/// let jobs = JoinableQueue::unbounded()?;
/// jobs.put_many([1, 2])?;
/// for _ in 0..2 {
///     let _job = jobs.get()?;
///     jobs.task_done()?;
/// }
/// jobs.join()?;
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct JoinableQueue<T> {
    queue: Queue<T>,
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug(self.queue.ring(), "JoinableQueue", f)
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;
    fn deref(&self) -> &Queue<T> {
        &self.queue
    }
}

impl<T> JoinableQueue<T> {
    /// See [`Queue::unbounded`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::unbounded`].
    pub fn unbounded() -> Result<Self> {
        Ok(Self {
            queue: Queue::unbounded()?,
        })
    }

    /// See [`Queue::bounded`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::bounded`].
    pub fn bounded(capacity: usize) -> Result<Self> {
        Ok(Self {
            queue: Queue::bounded(capacity)?,
        })
    }

    /// The work on one message that this or another consumer took is done.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyTasksDone`](crate::Error::TooManyTasksDone) if every message put so far has had its call.
    pub fn task_done(&self) -> Result<()> {
        self.queue.ring().task_done()
    }

    /// Has the deaths of consumers noted from now on: if one dies with items it has taken and not finished,
    /// [`join`](Self::join) fails instead of waiting for ever. Call it before there are consumers. A consumer is a process:
    /// what one of its threads takes another may finish, but not another process.
    pub fn track_consumers(&self) {
        self.queue.ring().track_consumers();
    }

    /// Waits until the work on every message is done. Messages dropped by `shutdown_now` count as done.
    ///
    /// # Errors
    ///
    /// [`Error::ConsumerDied`](crate::Error::ConsumerDied) if consumers are [track](Self::track_consumers) and one died with unfinished items.
    pub fn join(&self) -> Result<()> {
        self.join_until(Deadline::Never)
    }

    /// The same for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout).
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        self.join_until(Deadline::after(timeout))
    }

    /// The same until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout); as for [`join`](Self::join).
    pub fn join_until(&self, deadline: Deadline) -> Result<()> {
        self.queue.ring().join(deadline)
    }

    /// Messages whose work is not done: those in the queue and those that consumers work on.
    pub fn unfinished(&self) -> usize {
        self.queue.ring().unfinished() as usize
    }
}
