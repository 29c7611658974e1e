//! How often this process has acquired a lock.

use procession::bindings;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// What this process has done with an object: how often it acquired it (less releases), and which thread did last.
/// Changed under the interpreter's lock only; a forked child begins anew.
#[derive(Default)]
pub struct HoldCount {
    process: AtomicU32,
    thread: AtomicU32,
    count: AtomicI64,
}

impl HoldCount {
    #[inline]
    pub fn count(&self) -> i64 {
        if self.process.load(Ordering::Relaxed) == bindings::own_number() {
            self.count.load(Ordering::Relaxed)
        } else {
            0
        }
    }

    #[inline]
    pub fn add(&self, n: i64) {
        let count = self.count();
        self.process.store(bindings::own_number(), Ordering::Relaxed);
        if n > 0 {
            self.thread.store(bindings::own_thread(), Ordering::Relaxed);
        }
        self.count.store(count + n, Ordering::Relaxed);
    }

    pub fn is_mine(&self) -> bool {
        self.count() > 0 && self.thread.load(Ordering::Relaxed) == bindings::own_thread()
    }
}
