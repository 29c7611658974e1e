//! The child's side: from `init()` to the end of its function.

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

/// Exit code of a child that could not be told anything.
const LOST: i32 = 100;

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
    for helper in crate::program::HELPERS {
        if let Ok(order) = std::env::var(helper.variable) {
            (helper.serve)(&order);
        }
    }
    if let Ok(order) = std::env::var(VARIABLE) {
        // A program that this one starts by other means is not our child.
        os::spawn::forget_variable(VARIABLE);
        if let Err(error) = StartOrder::parse(&order).and_then(become_child) {
            eprintln!("procession: this process cannot start: {error}");
            std::process::exit(LOST);
        }
    }
    prepare();
}

fn prepare() {
    ready::prepare_once(|| {
        leave::at_exit();
        crate::heap::fork::on_child(children::reset);
        // Early: the standard library's lock around the hook may be held by another thread when a process is forked, and
        // for ever in the child.
        panic::install_hook();
    });
}

/// The start of a test: like [`init`], in a program whose `main` is the test harness. `path` is the test's module path
/// and name.
pub fn test_entry(path: &str) {
    order::run_as_test(path);
    init();
}

fn optional(fd: RawFd) -> Result<Option<OwnedFd>> {
    if fd < 0 {
        Ok(None)
    } else {
        os::descriptor::inherited(fd).map(Some)
    }
}

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
