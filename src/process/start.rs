//! Starting a process, in each of the three ways.
//!
//! All of them begin with a reserved entry in the process table, which holds the start message. If the parent dies
//! before the child exists, the entry goes with the parent. If the child dies before it adopts the entry, the parent
//! sees that it never started.

use super::children;
use super::exec;
use super::forkserver;
use super::info;
use super::known::Child;
use super::leave;
use super::order::StartOrder;
use super::plan::{Plan, StartMethod};
use super::ready;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::{Block, start_field};
use crate::heap::table::{CHILD, DAEMON, Reserved, VIA_SERVER, WANTED, index_of};
use crate::os;
use crate::os::fork::Forked;
use crate::os::kept::Kept;
use crate::wait::atomic::Ordering;
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Starts a child that runs the function of a start message. A forked child calls `forked` instead, which returns its
/// exit code.
pub(super) fn start(
    heap: &'static Heap,
    plan: &Plan,
    block: Option<Block>,
    forked: impl FnOnce() -> i32,
) -> Result<Arc<Child>> {
    if !ready::is_ready() {
        return Err(Error::NotInitialised);
    }
    if info::am_daemon(heap) {
        return Err(Error::DaemonChildren);
    }
    if plan.method != StartMethod::Fork {
        heap.record_build()?;
    }
    children::tidy();
    let via_server = plan.method == StartMethod::ForkServer;
    let flags =
        WANTED | CHILD | if plan.daemon { DAEMON } else { 0 } | if via_server { VIA_SERVER } else { 0 };
    let reserved = heap.reserve(heap.me(), flags, &plan.name)?;
    let id = reserved.id;
    let child = block
        .map_or(Ok(()), |block| {
            heap.hand_to_entry(block, start_field(index_of(id)))
        })
        .and_then(|()| start_child(heap, plan, &reserved, forked));
    // The child has the lock now. It is a witness of the child's life only if no other process has it.
    drop(reserved);
    let (pid, pidfd) = match child {
        Ok(child) => child,
        Err(error) => {
            heap.drop_entry(id)?;
            return Err(error);
        }
    };
    let child = Arc::new(Child {
        heap,
        id,
        pid,
        pidfd: pidfd.map(Kept::new),
        name: plan.name.clone(),
        daemon: plan.daemon,
        via_server,
        end: Mutex::new(None),
    });
    children::add(child.clone());
    Ok(child)
}

/// The pid of a child, and its pidfd if there is one.
type StartedChild = (u32, Option<OwnedFd>);

/// Starts the process for a reserved entry, by the plan's start method.
fn start_child(
    heap: &'static Heap,
    plan: &Plan,
    reserved: &Reserved,
    forked: impl FnOnce() -> i32,
) -> Result<StartedChild> {
    let (id, claim) = (reserved.id, reserved.claim_fd());
    let lifeline = if plan.daemon {
        Some(children::lifeline()?)
    } else {
        None
    };
    let stdio = plan.stdio.each_ref().map(|s| s.as_ref().map(AsFd::as_fd));
    match plan.method {
        StartMethod::Spawn => {
            let server = forkserver::inherited();
            let order = StartOrder {
                heap: heap.descriptor()?.number(),
                heap_id: heap.id(),
                id,
                claim,
                fork_server: false,
                lifeline: lifeline.map_or(-1, |l| l.as_raw_fd()),
                server: server
                    .as_ref()
                    .and_then(|s| s.get())
                    .map_or(-1, |s| s.as_raw_fd()),
                stdout: -1,
            };
            let program = plan.program.as_deref();
            let pid = exec::start_program(order, program, &plan.env, plan.cwd.as_deref(), stdio)?;
            open_pidfd(heap, id, pid)
        }
        StartMethod::ForkServer => {
            let pid = forkserver::request(heap, reserved, stdio, lifeline)?;
            let pidfd = os::pid::open(pid).ok();
            // The process may have ended already, and another process may have its number.
            Ok((pid, pidfd.filter(|_| heap.alive(id))))
        }
        StartMethod::Fork => {
            use std::io::Write;
            // Held during the fork, so that no other thread holds them in the child. Flushed, because the child would
            // write what is buffered a second time.
            let mut streams = (std::io::stdout().lock(), std::io::stderr().lock());
            let _ = streams.0.flush();
            crate::heap::fork::adopt_as(id, claim);
            let forked_as = os::fork::fork();
            drop(streams);
            match forked_as? {
                Forked::Parent(pid) => open_pidfd(heap, id, pid),
                Forked::Child => {
                    os::witness::close_inherited(-1, |fd| heap.is_own(fd));
                    for (number, fd) in stdio.into_iter().enumerate() {
                        if fd.is_some_and(|fd| os::stdio::become_stdio(fd, number as i32).is_err()) {
                            os::fork::exit_now(1);
                        }
                    }
                    // The read end was closed with the rest of the parent's lifeline. The copy for this process is in
                    // the plan.
                    match plan
                        .lifeline
                        .as_ref()
                        .map(|own| os::lifeline::die_with(own.as_fd()))
                    {
                        Some(Err(_)) => os::fork::exit_now(1),
                        Some(Ok(lifeline_end)) => core::mem::forget(lifeline_end),
                        None => {}
                    }
                    leave::finish(forked())
                }
            }
        }
    }
}

/// Notes a child's pid and opens its pidfd. If this process has no free descriptor, the child is ended again. If the
/// system has no pidfds, the parent can wait for the child without one.
fn open_pidfd(heap: &Heap, id: u32, pid: u32) -> Result<StartedChild> {
    heap.entry(index_of(id))
        .pid
        .store(u64::from(pid), Ordering::Release);
    match os::pid::open(pid) {
        Ok(pidfd) => Ok((pid, Some(pidfd))),
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            os::pid::abort_child(pid);
            Err(Error::errno("pidfd_open", errno))
        }
        Err(_) => Ok((pid, None)),
    }
}
