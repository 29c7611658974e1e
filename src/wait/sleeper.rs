//! One wait, from its first sleep to its last: when the thread checks for itself, and when the lookout checks for it.

#[cfg(not(loom))]
use super::BACKSTOP;
use super::atomic::AtomicU32;
#[cfg(not(loom))]
use super::interrupt;
#[cfg(not(loom))]
use super::lookout::{Duty, LONG, Lookout, PACE};
use crate::os::clock::Deadline;
use crate::os::futex::Wake;

/// The longest first sleep of a wait, in nanoseconds. A wait that ends sooner does not use the lookout.
#[cfg(not(loom))]
const BRIEF: u64 = BACKSTOP / 2;

/// A thread that waits for something in shared memory.
#[cfg(not(loom))]
pub(crate) struct Sleeper {
    /// The thread has slept for [`BRIEF`].
    is_patient: bool,
    /// The thread has slept without a post.
    leaves: bool,
    /// The number of deaths at or before the thread's last check of its condition.
    deaths: u32,
    duty: Option<Duty>,
}

#[cfg(not(loom))]
impl Sleeper {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            is_patient: false,
            leaves: false,
            deaths: 0,
            duty: None,
        }
    }

    /// Sleeps while `word` is `expected`, at the latest until the deadline. It may return earlier
    /// ([`Wake::TimedOut`]), so that the thread checks its condition: after half a second, and whenever a process has
    /// died.
    ///
    /// The thread may have been woken even if the result is not [`Wake::Woken`].
    pub(crate) fn sleep(&mut self, word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
        let lookout = Lookout::get();
        let wake = if self.is_patient {
            self.sleep_long(lookout, word, expected, deadline)
        } else {
            let wake = word.futex_wait(expected, deadline.within(BRIEF));
            self.is_patient = wake == Wake::TimedOut;
            wake
        };
        if let (true, Some(lookout)) = (self.is_patient, lookout) {
            self.deaths = lookout.deaths();
        }
        if wake == Wake::Interrupted {
            // A hook is called next, and it may take long.
            self.duty = None;
        }
        wake
    }

    fn sleep_long(
        &mut self,
        lookout: Option<&'static Lookout>,
        word: &AtomicU32,
        expected: u32,
        deadline: Deadline,
    ) -> Wake {
        let by_itself = || word.futex_wait(expected, deadline.within(PACE));
        // Each thread has to wake to call the hook.
        if interrupt::is_asked_often() {
            return by_itself();
        }
        // Without shared memory there is no other process with which a wake-up could be lost.
        let Some(lookout) = lookout else {
            return word.futex_wait(expected, deadline.within(LONG));
        };
        if !lookout.has_posts() {
            return by_itself();
        }
        if self.duty.is_none() {
            self.duty = lookout.take_post();
        }
        if let Some(duty) = &mut self.duty {
            return duty.sleep(word, expected, deadline);
        }
        self.leaves = true;
        let expected_post = lookout.expect_post();
        let wake = lookout.sleep_on(word, expected, deadline, self.deaths);
        if wake == Some(Wake::TimedOut) && !deadline.passed() {
            self.duty = lookout.take_post();
        }
        drop(expected_post);
        wake.unwrap_or_else(by_itself)
    }
}

#[cfg(not(loom))]
impl Drop for Sleeper {
    #[inline]
    fn drop(&mut self) {
        if self.leaves
            && self.duty.is_none()
            && let Some(lookout) = Lookout::get()
        {
            lookout.hand_over();
        }
    }
}

/// A sleeper for the model checker, in which time does not pass: it sleeps until it is woken.
#[cfg(loom)]
pub(crate) struct Sleeper;

#[cfg(loom)]
impl Sleeper {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn sleep(&mut self, word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
        word.futex_wait(expected, deadline.within(0))
    }
}
