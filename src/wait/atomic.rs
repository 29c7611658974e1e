//! The atomics of shared memory.
//!
//! They are `core`'s, with two exceptions. Under `--cfg loom` they are the model checker's, so that the protocols of
//! this folder are checked unchanged. In unit tests every change of shared memory passes [`crash_point`], where a
//! test can kill the process, so that a death between any two steps is tested step by step.

#[cfg(not(loom))]
use core::sync::atomic as imp;
pub(crate) use core::sync::atomic::Ordering;
#[cfg(loom)]
use loom::sync::atomic as imp;

macro_rules! shared_atomic {
    ($name:ident, $int:ty) => {
        /// An integer in shared memory.
        #[repr(transparent)]
        pub(crate) struct $name(imp::$name);

        #[allow(dead_code, reason = "both widths offer the same words")]
        impl $name {
            #[inline]
            pub(crate) fn new(value: $int) -> Self {
                Self(imp::$name::new(value))
            }
            #[inline]
            pub(crate) fn load(&self, order: Ordering) -> $int {
                look_point();
                self.0.load(order)
            }
            #[inline]
            pub(crate) fn store(&self, value: $int, order: Ordering) {
                crash_point();
                self.0.store(value, order);
            }
            #[inline]
            pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                crash_point();
                self.0.swap(value, order)
            }
            #[inline]
            pub(crate) fn fetch_or(&self, bits: $int, order: Ordering) -> $int {
                crash_point();
                self.0.fetch_or(bits, order)
            }
            #[inline]
            pub(crate) fn compare_exchange(
                &self,
                old: $int,
                new: $int,
                ok: Ordering,
                failed: Ordering,
            ) -> Result<$int, $int> {
                crash_point();
                self.0.compare_exchange(old, new, ok, failed)
            }
        }
    };
}
shared_atomic!(AtomicU32, u32);
shared_atomic!(AtomicU64, u64);

impl AtomicU32 {
    /// Sleeps while the word is `expected`, at the latest until the monotonic clock shows `until`.
    #[cfg(not(loom))]
    pub(crate) fn futex_wait(&self, expected: u32, until: u64) -> crate::os::futex::Wake {
        crate::os::futex::wait(&self.0, expected, until)
    }

    /// Wakes up to `count` sleepers. Returns how many there were.
    #[cfg(not(loom))]
    pub(crate) fn futex_wake(&self, count: u32) -> u32 {
        crash_point();
        crate::os::futex::wake(&self.0, count)
    }

    /// Returns the word in the form that system calls need.
    #[cfg(not(loom))]
    pub(crate) fn as_core(&self) -> &core::sync::atomic::AtomicU32 {
        &self.0
    }
}

/// Makes a read-modify-write a full fence: others see what this thread wrote before it, before this thread reads
/// anything after it. Call this right after the read-modify-write.
///
/// On x86-64 the locked instruction is a full fence already, so only the compiler has to be kept from reordering.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
    #[cfg(all(not(loom), target_arch = "x86_64"))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(all(not(loom), not(target_arch = "x86_64")))]
    core::sync::atomic::fence(Ordering::SeqCst);
}

#[cfg(any(not(test), loom))]
#[inline]
pub(crate) fn crash_point() {}
#[cfg(any(not(test), loom))]
#[inline]
fn look_point() {}
#[cfg(all(test, not(loom)))]
use super::crash::look_point;
#[cfg(all(test, not(loom)))]
pub(crate) use super::crash::{self, crash_point};
