//! Wait queues, events and barriers, each with a deadline as an argument.

use super::Deadline;
use crate::error::Result;
use crate::sync::{Arrival, Barrier, Event, Relock, WaitOutcome, WaitQueue};

/// Releases `lock`, waits in `queue` to be notified, and acquires the lock again in any case. Returns how the wait
/// ended, and the process that died with the lock meanwhile (0: no longer known).
///
/// # Errors
///
/// [`Error::NotLocked`](crate::Error::NotLocked); [`Error::OutOfMemory`](crate::Error::OutOfMemory).
pub fn wait_in_queue(
    queue: &WaitQueue,
    lock: &impl Relock,
    deadline: Deadline,
) -> Result<(WaitOutcome, Option<u32>)> {
    queue.wait(lock, deadline)
}

/// Waits until `event` is set.
///
/// # Errors
///
/// As for [`Event::wait_timeout`].
pub fn await_event(event: &Event, deadline: Deadline) -> Result<()> {
    event.wait_until(deadline)
}

/// Waits at `barrier` for the other parties. If `acts` is true and this party is the last, returns
/// [`Arrival::Acts`] at once: the others wait until the caller has acted.
///
/// # Errors
///
/// As for [`Barrier::wait_timeout`].
pub fn arrive(barrier: &Barrier, deadline: Deadline, acts: bool) -> Result<Arrival<'_>> {
    barrier.arrive(deadline, acts)
}

/// Breaks `barrier`, as [`Barrier::abort`] does. That has no error to return, and waits for as long as a process is
/// stopped in the middle of a change.
///
/// # Errors
///
/// [`Error::OwnerStopped`](crate::Error::OwnerStopped).
pub fn abort(barrier: &Barrier) -> Result<()> {
    barrier.try_break_or_mend(true)
}

/// Resets `barrier`, as [`Barrier::reset`] does, with the errors of [`abort`].
///
/// # Errors
///
/// As for [`abort`].
pub fn reset(barrier: &Barrier) -> Result<()> {
    barrier.try_break_or_mend(false)
}
