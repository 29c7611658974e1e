//! A queue that knows when all its messages are finished.

use super::typed::Queue;
use crate::error::Result;
use crate::os::clock::Deadline;
use core::fmt;
use core::ops::Deref;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A [`Queue`] that knows when all its messages are finished: consumers call [`task_done`](Self::task_done) for each
/// message they took, and [`join`](Self::join) waits until every message has had its call.
///
/// A consumer that dies before `task_done` leaves its message unfinished: [track](Self::track_consumers) consumers
/// where that can happen, or give `join` a deadline.
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
    /// Makes an unbounded queue; see [`Queue::unbounded`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::unbounded`].
    pub fn unbounded() -> Result<Self> {
        Ok(Self {
            queue: Queue::unbounded()?,
        })
    }

    /// Makes a bounded queue; see [`Queue::bounded`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::bounded`].
    pub fn bounded(capacity: usize) -> Result<Self> {
        Ok(Self {
            queue: Queue::bounded(capacity)?,
        })
    }

    /// Counts one more message as finished. This or another consumer took it.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyTasksDone`](crate::Error::TooManyTasksDone) if every message put so far has had its call.
    pub fn task_done(&self) -> Result<()> {
        self.queue.ring().task_done()
    }

    /// Keeps track of consumers from now on: if one dies with messages that it has taken and not finished,
    /// [`join`](Self::join) fails instead of waiting for ever.
    ///
    /// Call it before there are consumers. A consumer is a process: one of its threads may finish what another one
    /// took, but another process may not.
    pub fn track_consumers(&self) {
        self.queue.ring().track_consumers();
    }

    /// Waits until every message is finished. Messages that `shutdown_now` drops count as finished.
    ///
    /// # Errors
    ///
    /// [`Error::ConsumerDied`](crate::Error::ConsumerDied) if consumers are [tracked](Self::track_consumers) and one
    /// died with unfinished messages.
    pub fn join(&self) -> Result<()> {
        self.join_until(Deadline::Never)
    }

    /// Waits as [`join`](Self::join) does, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout).
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        self.join_until(Deadline::after(timeout))
    }

    /// Waits as [`join`](Self::join) does, until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`](crate::Error::Timeout); as for [`join`](Self::join).
    pub fn join_until(&self, deadline: Deadline) -> Result<()> {
        self.queue.ring().join(deadline)
    }

    /// Returns the number of unfinished messages: those in the queue and those that consumers work on.
    pub fn unfinished(&self) -> usize {
        self.queue.ring().unfinished() as usize
    }
}
