//! The monotonic clock, in nanoseconds, and deadlines on it.

use rustix::event::Timespec;
use std::time::Duration;

/// Returns the monotonic clock in nanoseconds. All processes of the machine read the same clock.
#[allow(unsafe_code)]
pub(crate) fn now() -> u64 {
    let mut ts = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `ts` is a valid, writable timespec; CLOCK_MONOTONIC always exists, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Returns the time from now to a moment of the clock, for calls that take a duration.
pub(crate) fn span_until(moment: u64) -> Timespec {
    let left = moment.saturating_sub(now());
    Timespec {
        tv_sec: (left / 1_000_000_000).cast_signed(),
        tv_nsec: (left % 1_000_000_000).cast_signed(),
    }
}

/// Sleeps until the monotonic clock shows `moment`.
pub(crate) fn sleep_until(moment: u64) {
    std::thread::sleep(Duration::from_nanos(moment.saturating_sub(now())));
}

/// A moment until which a call may wait.
///
/// One deadline can serve several waits in a row:
///
/// ```
/// use procession::{Deadline, Queue};
/// use std::time::Duration;
/// let queue = Queue::unbounded()?;
/// queue.put_many([1, 2])?;
/// let deadline = Deadline::after(Duration::from_millis(20));
/// let mut got = Vec::new();
/// while let Ok(n) = queue.get_until(deadline) {
///     got.push(n);
/// }
/// assert_eq!(got, [1, 2]);
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Do not wait at all, as the `try_` forms.
    Now,
    /// Wait until this moment of the monotonic clock, in nanoseconds.
    At(u64),
    /// Wait for ever.
    Never,
}

impl Deadline {
    /// Returns the deadline that is `timeout` from now. A duration too long for the clock gives [`Deadline::Never`].
    pub fn after(timeout: Duration) -> Self {
        match u64::try_from(timeout.as_nanos())
            .ok()
            .and_then(|ns| now().checked_add(ns))
        {
            Some(at) => Self::At(at),
            None => Self::Never,
        }
    }

    /// Returns whether the deadline has passed.
    pub fn passed(self) -> bool {
        match self {
            Self::Now => true,
            Self::At(at) => now() >= at,
            Self::Never => false,
        }
    }

    /// Returns the earlier of this deadline and `slice` nanoseconds from now, as a moment of the clock.
    pub(crate) fn within(self, slice: u64) -> u64 {
        let end = now().saturating_add(slice);
        match self {
            Self::Now => 0,
            Self::At(at) => at.min(end),
            Self::Never => end,
        }
    }

    /// Returns the time left, for calls that take a duration; `None` means for ever.
    pub fn left(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(at) => Some(Duration::from_nanos(at.saturating_sub(now()))),
            Self::Never => None,
        }
    }
}
