//! Shared memory by name for a front door that cannot use [`SharedMemory`](crate::SharedMemory): see "Programs in
//! Python" in `shm/README.md`. The memory counts as in use while the returned descriptor is open or a mapping of it
//! exists.

use crate::error::Result;
use crate::shm::{file, sweep_once};
use std::os::fd::OwnedFd;

/// Makes shared memory of this name. If it is `marked`, the name goes with its last user.
///
/// # Errors
///
/// As for [`SharedMemory::create`](crate::SharedMemory::create), except those of the tracker.
pub fn create(name: &str, size: u64, marked: bool) -> Result<OwnedFd> {
    if marked {
        sweep_once();
    }
    file::create(name, size, marked)
}

/// Opens the shared memory of this name, as one of its users.
///
/// # Errors
///
/// As for [`SharedMemory::open`](crate::SharedMemory::open), except those of the tracker.
pub fn open(name: &str) -> Result<OwnedFd> {
    file::open(name)
}

/// Removes the name at once. Processes that use the memory keep it.
///
/// # Errors
///
/// As for [`SharedMemory::unlink`](crate::SharedMemory::unlink).
pub fn unlink(name: &str) -> Result<()> {
    file::unlink(name)
}

/// Removes those of the names that no process uses any more. Call this when processes that used them have just died.
/// With `only_marked`, removes only the names of marked memory.
pub fn tidy(names: Vec<String>, only_marked: bool) {
    file::tidy_behind_the_dead(names, only_marked);
}
