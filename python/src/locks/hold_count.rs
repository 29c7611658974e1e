//! The count of a process's acquires of a lock.

use procession::bindings;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// How many times this process has acquired a lock, less how many times it has released it, and which thread acquired
/// it last.
///
/// This changes only while the interpreter is held. In a forked child the count begins at zero.
#[derive(Default)]
pub struct HoldCount {
    process: AtomicU32,
    thread: AtomicU32,
    count: AtomicI64,
}

impl HoldCount {
    #[inline]
    /// Returns the count of this process.
    pub fn count(&self) -> i64 {
        if self.process.load(Ordering::Relaxed) == bindings::own_number() {
            self.count.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    #[inline]
    /// Adds `n` to the count of this process. If `n` is positive, this thread has acquired the lock.
    pub fn add(&self, n: i64) {
        let count = self.count();
        self.process.store(bindings::own_number(), Ordering::Relaxed);
        if n > 0 {
            self.thread.store(bindings::own_thread(), Ordering::Relaxed);
        }
        self.count.store(count + n, Ordering::Relaxed);
    }

    /// Returns whether this thread acquired the lock last, and the count is positive.
    pub fn is_mine(&self) -> bool {
        self.count() > 0 && self.thread.load(Ordering::Relaxed) == bindings::own_thread()
    }
}
