//! Lines, events and barriers, with a deadline as the other language has it.

use super::Deadline;
use crate::error::Result;
use crate::sync::{Arrival, Barrier, Event, Relock, WaitOutcome, WaitQueue};

/// Waits in `line` to be called, having given up `lock`, which is taken back in any case: how that ended, and the process
/// that died with the lock meanwhile (0: no longer known).
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

/// Waits at `barrier`; `acts`: if this is the last to arrive, it wants to do something before anybody goes on.
///
/// # Errors
///
/// As for [`Barrier::wait_timeout`].
pub fn arrive(barrier: &Barrier, deadline: Deadline, acts: bool) -> Result<Arrival<'_>> {
    barrier.arrive(deadline, acts)
}

/// Breaks `barrier`; see [`Barrier::abort`], which has no error to answer with and waits for as long as somebody is stopped.
///
/// # Errors
///
/// [`Error::OwnerStopped`](crate::Error::OwnerStopped).
pub fn abort(barrier: &Barrier) -> Result<()> {
    barrier.try_break_or_mend(true)
}

/// Makes `barrier` as new; see [`Barrier::reset`], and [`abort`].
///
/// # Errors
///
/// As for [`abort`].
pub fn reset(barrier: &Barrier) -> Result<()> {
    barrier.try_break_or_mend(false)
}
