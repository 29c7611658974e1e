//! Threads, and queues, conditions and semaphores between the threads of one process. Nothing is encoded, so any
//! `T: Send` can be sent.
//!
//! | between processes | between threads |
//! | --- | --- |
//! | [`Process`](crate::Process) | [`Thread`] |
//! | [`Queue`](crate::Queue), [`JoinableQueue`](crate::JoinableQueue) | [`Queue`], [`LifoQueue`], [`PriorityQueue`] |
//! | [`Condition`](crate::Condition) | [`Condition`], which contains the data that it is about |
//! | [`Semaphore`](crate::Semaphore) | [`Semaphore`] |
//!
//! Names, errors, deadlines and shutdown are the same for processes and for threads, so code can change from one to the
//! other. All queues implement [`AnyQueue`](crate::AnyQueue). Handles are cloned, not put into an `Arc`.
//!
//! The types between processes work between threads too. The types of this module are faster, and take values that
//! cannot be encoded. They do not support a fork: as with the standard library's mutexes, the copy in a forked child
//! may be in the middle of another thread's change.
//!
//! ```
//! use procession::thread::{Queue, Thread};
//!
//! let jobs = Queue::bounded(2)?;
//! let worker = Thread::spawn({
//!     let jobs = jobs.clone();
//!     move || jobs.iter().map(|job: Box<dyn Fn() -> u32 + Send>| job()).sum::<u32>()
//! })?;
//! jobs.put(Box::new(|| 20u32) as Box<_>)?;
//! jobs.put(Box::new(|| 22u32) as Box<_>)?;
//! jobs.shutdown();
//! assert_eq!(worker.join()?, 42);
//! # Ok::<(), procession::Error>(())
//! ```

mod condition;
mod handle;
mod queue;
mod semaphore;
mod store;

pub use crate::error::ThreadError;
pub use condition::{Condition, ConditionGuard};
pub use handle::{Builder, Thread};
pub use queue::{Iter, LifoQueue, PriorityQueue, Queue};
pub use semaphore::{Permit, Semaphore};

use crate::error::Error;
use crate::os::clock::Deadline;
use crate::wait::event_count::{Ended, EventCount, Wait};

/// Calls `attempt` until it returns a value. Between attempts the thread sleeps on `event_count` until `ready` is true.
///
/// The event count's protocol ([README.md](../wait/README.md)) has two rules for code that changes what `ready` reads:
/// change it by a read-modify-write, and notify the event count after that.
fn persist<T>(
    event_count: &EventCount,
    deadline: Deadline,
    ready: impl Fn() -> bool,
    attempt: impl FnMut() -> Option<T>,
) -> Result<T, Ended> {
    // No other process can inspect this wait, so it is not announced.
    event_count.attempt_or_wait(&mut Locally { ready, attempt }, deadline)
}

/// What a thread waits for at an event count of its own process.
struct Locally<R, A> {
    ready: R,
    attempt: A,
}

impl<T, R: Fn() -> bool, A: FnMut() -> Option<T>> Wait for Locally<R, A> {
    type Answer = T;
    type Announced = ();

    fn attempt(&mut self) -> Option<T> {
        (self.attempt)()
    }

    fn is_ready(&self) -> bool {
        (self.ready)()
    }

    fn announce(&self) {}
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Late => Self::Timeout,
            Ended::Interrupted => Self::Interrupted,
        }
    }
}
