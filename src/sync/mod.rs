//! What processes and threads exclude each other with. The protocols are in README.md beside this file.

mod lock;
mod rlock;
mod semaphore;
mod waiter;

pub(crate) use lock::LOCK;
pub use lock::{Lock, LockError, LockGuard};
pub(crate) use rlock::RLOCK;
pub use rlock::{RLock, RLockGuard};
pub(crate) use semaphore::SEMAPHORE;
pub use semaphore::{Permit, Semaphore};
pub(crate) use waiter::WAITER;
