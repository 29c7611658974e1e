//! Where a program enters the crate: the first call of `main`, or of a test.
//!
//! The same program file is started in three roles. Environment variables tell a copy which one is its own:
//!
//! 1. The tracker of shared memory by name. It serves until its program ends, and never returns.
//! 2. A process that [`Process`](crate::Process) started. It runs its function, and never returns.
//! 3. The program itself. It gets ready to start processes, and goes on with `main`.

use crate::{process, shm};

/// Prepares this program to start processes; call it first in `main`, or put `#[procession::main]` on `main`.
///
/// In a process that was started by [`Process`](crate::Process) this runs the process's function and ends the process:
/// it never returns there. So what stands before it in `main` runs in every child as well.
///
/// When the program ends well, it waits for its processes as Python does, and ends its daemons; after a second it says on
/// standard error for whom it waits. When it ends by an error (`main` returns one or panics, or
/// [`exit`](std::process::exit) is called with another code than 0), it ends its processes, and those that these have
/// started: by SIGTERM, and a second later by SIGKILL. The same holds for each of its processes at its own end.
///
/// # Panics
///
/// Never. A child that cannot find its parent's shared memory says so on standard error and exits.
pub fn init() {
    shm::tracker::serve_if_asked();
    process::become_child_if_asked();
    process::prepare();
}

/// Does the same as [`init`] at the start of a test, whose program's `main` is the test harness. `path` is the test's
/// module path and name.
pub fn test_entry(path: &str) {
    process::run_as_test(path);
    init();
}
