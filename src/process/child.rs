//! The child's side: from `init()` to its function.

use super::children;
use super::forkserver;
use super::function::Outcome;
use super::leave;
use super::order::{self, StartOrder, VARIABLE};
use super::ready;
use super::run;
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::os;
use crate::panic;
use std::os::fd::{AsFd, OwnedFd, RawFd};

/// The exit code of a child that could not find its order or its heap.
const LOST: i32 = 100;

/// Prepares this program to start processes. Call it first in `main`, or put `#[procession::main]` on `main`.
///
/// In a process that was started by [`Process`](crate::Process), `init` runs the process's function and ends the
/// process: it does not return. So the code before it in `main` also runs in every child.
///
/// When the program ends with exit code 0, it waits for its processes, as Python does, and ends its daemons. After a
/// second it names on standard error the processes that it waits for. When the program ends by an error (`main`
/// returns one or panics, or [`exit`](std::process::exit) is called with another code), it ends its processes and all
/// their descendants: by SIGTERM, and a second later by SIGKILL. The same holds for each of its processes at its own
/// end.
///
/// # Panics
///
/// Never. A child that cannot find its parent's shared memory says so on standard error and exits.
pub fn init() {
    for helper in crate::program::HELPERS {
        if let Ok(order) = std::env::var(helper.variable) {
            (helper.serve)(&order);
        }
    }
    if let Ok(order) = std::env::var(VARIABLE) {
        // A program that this one starts by other means must not take the variable for its own.
        os::spawn::forget_variable(VARIABLE);
        if let Err(error) = StartOrder::parse(&order).and_then(become_child) {
            eprintln!("procession: this process cannot start: {error}");
            std::process::exit(LOST);
        }
    }
    prepare();
}

/// Registers what has to happen at forks, at panics and at the end of this process, unless that was done before.
fn prepare() {
    ready::prepare_once(|| {
        leave::at_exit();
        crate::heap::fork::on_child(children::reset);
        // Early: later, another thread might hold the standard library's lock around the hook when a process is
        // forked. Then it would stay locked in the child for ever.
        panic::install_hook();
    });
}

/// Starts a test: does the same as [`init`], in a program whose `main` is the test harness. `path` is the test's
/// module path and name.
pub fn test_entry(path: &str) {
    order::run_as_test(path);
    init();
}

/// Takes over an inherited descriptor; `None` for a negative number.
fn optional(fd: RawFd) -> Result<Option<OwnedFd>> {
    if fd < 0 {
        Ok(None)
    } else {
        os::descriptor::inherited(fd).map(Some)
    }
}

/// Joins the parent's program, runs this process's function, and exits. Returns only errors.
fn become_child(order: StartOrder) -> Result<()> {
    let heap = Heap::attach(order.heap, order.heap_id, crate::program::KINDS)?;
    let claim = optional(order.claim)?;
    let (lifeline, server) = (optional(order.lifeline)?, optional(order.server)?);
    if let Some(stdout) = optional(order.stdout)? {
        os::stdio::become_stdio(stdout.as_fd(), 1)?;
    }
    heap.adopt_entry(order.id, claim.as_ref().map(AsFd::as_fd))?;
    drop(claim);
    if let Some(lifeline) = &lifeline {
        core::mem::forget(os::lifeline::die_with(lifeline.as_fd())?);
    }
    prepare();
    if heap.build() != os::image::identity()? {
        run::finish(heap, codec::encode_block(heap, &Outcome::OtherBuild));
        std::process::exit(LOST);
    }
    if order.fork_server {
        let server = server.ok_or_else(|| Error::BadHeap("a fork server without a socket".to_owned()))?;
        forkserver::serve::serve(heap, server);
    }
    if let Some(server) = server {
        forkserver::inherit(server);
    }
    std::process::exit(run::run(heap));
}
