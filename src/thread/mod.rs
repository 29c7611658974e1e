//! The same vocabulary for the threads of one process: nothing is encoded, so any `T: Send` travels.
//!
//! | between processes | between threads |
//! | --- | --- |
//! | [`Process`](crate::Process) | [`Thread`] |
//! | [`Queue`](crate::Queue), [`JoinableQueue`](crate::JoinableQueue) | [`Queue`], [`LifoQueue`], [`PriorityQueue`] |
//! | `Condition` | [`Condition`], which has what it is about inside |
//! | [`Semaphore`](crate::Semaphore) | [`Semaphore`] |
//!
//! Names, errors, deadlines and shutting down are the same on both sides, so code can move from one to the other; queues
//! of both sides are [`AnyQueue`](crate::AnyQueue)s. Handles are cloned, not put into an `Arc`.
//!
//! Queues and semaphores of this crate work between threads, too: these here are for values that cannot be encoded, and
//! quicker. They know nothing of a process that forks: as with the standard library's mutexes, the copy of one in
//! a forked child may be in the middle of what another thread did.
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
mod error;
mod handle;
mod queue;
mod semaphore;
mod store;

pub use condition::{Condition, ConditionGuard};
pub use error::ThreadError;
pub use handle::{Builder, Thread};
pub use queue::{Iter, LifoQueue, PriorityQueue, Queue};
pub use semaphore::{Permit, Semaphore};

use crate::error::Error;
use crate::os::clock::Deadline;
use crate::wait::event_count::{Ended, EventCount, Wait};

/// Makes attempts until one answers, and sleeps at `gate` in between while it does not look `ready`.
///
/// The gate's protocol ([README.md](../wait/README.md)) asks that whoever changes what `ready` looks at does so by a
/// read-modify-write, and notifies behind it.
fn persist<T>(
    event_count: &EventCount,
    deadline: Deadline,
    ready: impl Fn() -> bool,
    attempt: impl FnMut() -> Option<T>,
) -> Result<T, Ended> {
    // Nobody outside this process can ask what its threads wait for here: nothing is announced.
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
