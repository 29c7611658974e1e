//! The atomics of shared memory.
//!
//! They are `core`'s, but for two uses: under `--cfg loom` the model checker's, so that the protocols of this room are
//! checked as they stand; and in unit tests every change of shared memory passes [`crash_point`], where a test can have
//! the process killed, so that "dies between any two steps" is tried step by step.

#[cfg(not(loom))]
use core::sync::atomic as imp;
pub(crate) use core::sync::atomic::Ordering;
#[cfg(loom)]
use loom::sync::atomic as imp;

macro_rules! shared_atomic {
    ($name:ident, $int:ty) => {
        /// An integer of shared memory.
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

    /// Wakes up to `count` sleepers; how many there were.
    #[cfg(not(loom))]
    pub(crate) fn futex_wake(&self, count: u32) -> u32 {
        crash_point();
        crate::os::futex::wake(&self.0, count)
    }

    /// The word as the system's calls want it.
    #[cfg(not(loom))]
    pub(crate) fn as_core(&self) -> &core::sync::atomic::AtomicU32 {
        &self.0
    }
}

/// A full fence behind a read-modify-write: everything before it is visible before anything after it is read.
///
/// On x86-64 the locked instruction that goes before is that fence already, so only the compiler has to be told.
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
pub(crate) use crash::crash_point;
#[cfg(all(test, not(loom)))]
use crash::look_point;

/// For tests: death by SIGKILL, a stop by SIGSTOP, or anything else at the n-th change of shared memory, or before the n-th look
/// at it.
#[cfg(all(test, not(loom)))]
pub(crate) mod crash {
    use rustix::process::{Signal, getpid, kill_process};
    use std::cell::{Cell, RefCell};
    use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

    static LEFT: AtomicU64 = AtomicU64::new(0);
    /// It is to be stopped, not killed.
    static STOP: AtomicBool = AtomicBool::new(false);
    /// A process that passes: only those that it forks are meant. 0: nobody passes.
    static SPARED: AtomicI32 = AtomicI32::new(0);

    /// From here on this process dies at its `step`-th crash point (counted from 1); 0 never.
    pub(crate) fn arm(step: u64) {
        begin(step, false, 0);
    }

    /// The same, but it stops there, and goes on when it gets SIGCONT.
    pub(crate) fn stop_at(step: u64) {
        begin(step, true, 0);
    }

    /// Runs something that no crash point is counted in.
    pub(crate) fn spare<T>(work: impl FnOnce() -> T) -> T {
        let left = LEFT.swap(0, Ordering::Relaxed);
        let answer = work();
        LEFT.store(left, Ordering::Relaxed);
        answer
    }

    /// As [`stop_at`] for a child that this process forks next, from its first instruction on.
    pub(crate) fn stop_child_at(step: u64) {
        begin(step, true, getpid().as_raw_nonzero().get());
    }

    fn begin(step: u64, stop: bool, spared: i32) {
        STOP.store(stop, Ordering::Relaxed);
        SPARED.store(spared, Ordering::Relaxed);
        LEFT.store(step, Ordering::Relaxed);
    }

    pub(crate) fn crash_point() {
        let left = LEFT.load(Ordering::Relaxed);
        if left > 0 && getpid().as_raw_nonzero().get() != SPARED.load(Ordering::Relaxed) {
            LEFT.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                let stop = STOP.load(Ordering::Relaxed);
                let _ = kill_process(getpid(), if stop { Signal::STOP } else { Signal::KILL });
            }
        }
        passed(&CHANGES, &AT_CHANGE);
    }

    pub(super) fn look_point() {
        passed(&LOOKS, &AT_LOOK);
    }

    /// What a thread does once, at a moment of its own.
    type Plan = Option<(u64, Box<dyn FnOnce()>)>;
    type Plans = std::thread::LocalKey<RefCell<Plan>>;

    thread_local! {
        static CHANGES: Cell<u64> = const { Cell::new(0) };
        static LOOKS: Cell<u64> = const { Cell::new(0) };
        static AT_CHANGE: RefCell<Plan> = const { RefCell::new(None) };
        static AT_LOOK: RefCell<Plan> = const { RefCell::new(None) };
    }

    /// How often this thread has changed shared memory.
    pub(crate) fn changes() -> u64 {
        CHANGES.get()
    }

    /// How often this thread has looked at shared memory.
    pub(crate) fn looks() -> u64 {
        LOOKS.get()
    }

    /// Has this thread do something right before its `step`-th change from here on (counted from 1).
    pub(crate) fn at_change(step: u64, what: impl FnOnce() + 'static) {
        AT_CHANGE.set(Some((changes() + step, Box::new(what))));
    }

    /// The same before its `step`-th look.
    pub(crate) fn at_look(step: u64, what: impl FnOnce() + 'static) {
        AT_LOOK.set(Some((looks() + step, Box::new(what))));
    }

    /// Forgets what was planned; whether it was still to come.
    pub(crate) fn forget_plans() -> bool {
        AT_CHANGE.take().is_some() | AT_LOOK.take().is_some()
    }

    fn passed(count: &'static std::thread::LocalKey<Cell<u64>>, plans: &'static Plans) {
        count.set(count.get() + 1);
        // At the end of a thread its plans are gone, and shared memory is looked at still.
        let due = plans.try_with(|plan| {
            let mut plan = plan.try_borrow_mut().ok()?;
            let is_due = plan.as_ref().is_some_and(|(when, _)| *when <= count.get());
            if is_due { plan.take() } else { None }
        });
        if let Ok(Some((_, what))) = due {
            what();
        }
    }
}

/// The futex under the model checker: a sleeper leaves only when the word differs or somebody wakes it, so that a lost
/// wake-up shows as a deadlock.
#[cfg(loom)]
mod modelled {
    use super::AtomicU32;
    use crate::os::futex::Wake;
    use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    use std::collections::BTreeMap;

    /// Those who sleep at a word: how many, and where.
    #[derive(Default)]
    struct Place {
        asleep: u32,
        bed: Arc<Condvar>,
    }

    type Places = BTreeMap<usize, Place>;

    loom::lazy_static! {
        static ref SLEEPERS: Mutex<Places> = Mutex::new(BTreeMap::new());
    }

    impl AtomicU32 {
        fn sleepers(&self) -> (MutexGuard<'static, Places>, usize) {
            (SLEEPERS.lock().unwrap(), core::ptr::from_ref(self) as usize)
        }

        pub(crate) fn futex_wait(&self, expected: u32, _until: u64) -> Wake {
            let (mut places, here) = self.sleepers();
            if self.0.load(super::Ordering::SeqCst) == expected {
                let place = places.entry(here).or_default();
                place.asleep += 1;
                let bed = place.bed.clone();
                drop(bed.wait(places).unwrap());
            }
            Wake::Woken
        }

        pub(crate) fn futex_wake(&self, count: u32) -> u32 {
            let (mut places, here) = self.sleepers();
            let place = places.entry(here).or_default();
            let woken = place.asleep.min(count);
            place.asleep -= woken;
            (0..woken).for_each(|_| place.bed.notify_one());
            woken
        }
    }
}
