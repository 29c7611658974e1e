//! Shared memory by name for a front door whose handles live otherwise than [`SharedMemory`](crate::SharedMemory): see "Programs in
//! Python" in the room's README.md. The answers take part in the memory until they and their mappings are closed.

use crate::error::Result;
use crate::shm::{file, sweep_once};
use std::os::fd::OwnedFd;

/// Makes shared memory that has this name; `marked` if it is to go with its last user.
///
/// # Errors
///
/// As for [`SharedMemory::create`](crate::SharedMemory::create), but for what concerns keepers.
pub fn create(name: &str, size: u64, marked: bool) -> Result<OwnedFd> {
    if marked {
        sweep_once();
    }
    file::create(name, size, marked)
}

/// Takes part in the shared memory that has this name.
///
/// # Errors
///
/// As for [`SharedMemory::open`](crate::SharedMemory::open), but for what concerns keepers.
pub fn open(name: &str) -> Result<OwnedFd> {
    file::open(name)
}

/// Takes the name away at once; who uses the memory keeps it.
///
/// # Errors
///
/// As for [`SharedMemory::unlink`](crate::SharedMemory::unlink).
pub fn unlink(name: &str) -> Result<()> {
    file::unlink(name)
}

/// Takes away those names that nobody uses, a moment after the last process died that did; with `only_marked`, of memory
/// that is to go with its last user.
pub fn tidy(names: Vec<String>, only_marked: bool) {
    file::tidy_behind_the_dead(names, only_marked);
}
