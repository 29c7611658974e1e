//! Locks, semaphores, conditions, events and barriers. The protocols are in README.md beside this file.

mod barrier;
mod bias;
mod condition;
mod event;
mod lock;
#[cfg(all(test, loom))]
mod models;
mod rlock;
mod semaphore;
mod wait_queue;
mod waiter;

pub(crate) use barrier::BARRIER;
pub use barrier::{Acting, Arrival, Barrier};
pub use condition::{Condition, ConditionGuard};
pub(crate) use event::EVENT;
pub use event::Event;
pub(crate) use lock::LOCK;
pub use lock::Relock;
pub use lock::{Lock, LockError, LockGuard};
pub(crate) use rlock::{RLOCK, RLockLayout};
pub use rlock::{RLock, RLockGuard};
pub(crate) use semaphore::SEMAPHORE;
pub use semaphore::{Permit, Semaphore};
pub(crate) use wait_queue::CONDITION;
pub use wait_queue::{WaitOutcome, WaitQueue};
pub(crate) use waiter::WAITER;
