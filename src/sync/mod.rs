//! What processes and threads exclude each other with.

mod lock;

pub(crate) use lock::LOCK;
pub use lock::{Lock, LockError, LockGuard};
