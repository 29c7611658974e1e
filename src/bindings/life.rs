//! The end of a process: with its parent, or by itself.

use crate::error::Result;
use crate::heap::Heap;
use crate::os;
use std::os::fd::{AsFd, OwnedFd};

/// A descriptor for one daemon of this process, for [`die_with`]. A forked one inherits it, others must be sent it.
///
/// # Errors
///
/// What the system said.
pub fn lifeline() -> Result<OwnedFd> {
    // With it comes what is done around forks: no forked child may keep the end that breaks.
    crate::program::heap()?;
    crate::process::lifeline_copy()
}

/// In a daemon: ends this process (SIGKILL) when its parent has ended, in whatever way.
///
/// # Errors
///
/// What the system said; without `/proc` it cannot be done.
pub fn die_with(lifeline: OwnedFd) -> Result<()> {
    // Kept open for as long as this process lives.
    os::fd::die_with(lifeline.as_fd()).map(core::mem::forget)
}

/// This process ends in an orderly way, though not by exit(3), which says so by itself: what it has of a semaphore stays taken.
pub fn take_leave() {
    Heap::existing().map(Heap::take_leave);
}
