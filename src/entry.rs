//! The first call of a program: [`init`], and its form for tests.
//!
//! The same program file is started in three roles. An environment variable tells a copy of the program its role:
//!
//! 1. The tracker of shared memory by name. `init` serves until the program has ended, and never returns.
//! 2. A process that [`Process`](crate::Process) started. `init` runs the process's function, and never returns.
//! 3. The program itself, which has no such variable. `init` prepares the start of processes, and returns to `main`.

use crate::{process, shm};

/// Prepares this program to start processes. Call it first in `main`, or put `#[procession::main]` on `main`.
///
/// In a process that was started by [`Process`](crate::Process), this function runs the process's function and ends the
/// process: it never returns. Code before the call in `main` therefore runs in every child as well.
///
/// The call also decides what happens at the end of the program, and of each of its processes:
///
/// * At a normal end, the process waits for its children, as in Python, and ends its daemons. After a second it prints
///   on standard error which children it waits for.
/// * At an end by an error (`main` returns an error or panics, or [`exit`](std::process::exit) is called with another
///   code than 0), the process ends its children and their children: by SIGTERM, and a second later by SIGKILL.
///
/// # Panics
///
/// Never. A child that cannot use its parent's shared memory prints the reason on standard error, and exits.
pub fn init() {
    shm::tracker::serve_if_asked();
    process::become_child_if_asked();
    process::prepare();
}

/// Does the same as [`init`] at the start of a test, where the program's `main` is the test harness. `path` is the
/// test's module path and name: a child runs the harness with this one test, which calls this function again.
pub fn test_entry(path: &str) {
    process::run_as_test(path);
    init();
}
