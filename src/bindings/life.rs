//! The end of a process: with its parent, or by itself.

use crate::error::Result;
use crate::heap::Heap;
use crate::os;
use std::os::fd::{AsFd, OwnedFd};

/// Makes the descriptor that one daemon of this process passes to [`die_with`]. A forked daemon inherits it; any other
/// must be sent it.
///
/// # Errors
///
/// What the system said.
pub fn lifeline() -> Result<OwnedFd> {
    // With it comes what is done around forks: no forked child may keep the end that breaks.
    crate::program::heap()?;
    crate::process::lifeline_copy()
}

/// Lets the kernel end this process, a daemon, by SIGKILL when its parent has ended, in whatever way.
///
/// # Errors
///
/// What the system said; without `/proc` it cannot be done.
pub fn die_with(lifeline: OwnedFd) -> Result<()> {
    // Kept open for as long as this process lives.
    os::fd::die_with(lifeline.as_fd()).map(core::mem::forget)
}

/// Records that this process ends in an orderly way, so that the permits that it has stay taken. An end by exit(3) is
/// recorded without this call.
pub fn take_leave() {
    Heap::existing().map(Heap::take_leave);
}
