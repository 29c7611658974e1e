//! The child's side: from its start to the end of its function.

use super::children;
use super::forkserver;
use super::function::Outcome;
use super::leave;
use super::order::{StartOrder, VARIABLE};
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

/// Runs this process's function and ends the process, if a process of this program started it. Returns otherwise.
pub(crate) fn become_child_if_asked() {
    if let Ok(order) = std::env::var(VARIABLE) {
        // A program that this one starts by other means must not take the variable for its own.
        os::spawn::forget_variable(VARIABLE);
        if let Err(error) = StartOrder::parse(&order).and_then(become_child) {
            eprintln!("procession: this process cannot start: {error}");
            std::process::exit(LOST);
        }
    }
}

/// Registers what has to happen at forks, at panics and at the end of this process, unless that was done before.
pub(crate) fn prepare() {
    ready::prepare_once(|| {
        leave::at_exit();
        crate::heap::fork::on_child(children::reset);
        // Early: later, another thread might hold the standard library's lock around the hook when a process is
        // forked. Then it would stay locked in the child for ever.
        panic::install_hook();
    });
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
