//! The fork server itself: it forks on request, and reports how its children ended.

use crate::heap::Heap;
use crate::os::fork::Forked;
use crate::os::{self, poll, send_fds};
use crate::process::{leave, run};
use crate::wait::atomic::Ordering;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// Serves requests until no process can send any more, then exits.
pub(in crate::process) fn serve(heap: &'static Heap, socket: OwnedFd) -> ! {
    os::fork::set_name("forkserver");
    // Ctrl-C is meant for the processes that the user sees.
    os::signal::ignore_interrupt(true);
    let events = os::signal::child_events();
    let mut children: HashMap<u32, u32> = HashMap::new();
    while let Ok(events) = &events {
        let [asked, ended] = poll::wait_readable([socket.as_fd(), events.as_fd()]);
        if ended {
            // One signal may stand for any number of children.
            os::signal::clear_child_events(events);
            reap(heap, &mut children);
        }
        if asked {
            let mut request = [0u32; 2];
            match send_fds::receive(socket.as_fd(), bytemuck::bytes_of_mut(&mut request)) {
                Ok(Some((8, fds))) => make(heap, request, fds, &socket, events, &mut children),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
    // No process will ask any more. The children continue without a server.
    os::fork::exit_now(0)
}

fn reap(heap: &Heap, children: &mut HashMap<u32, u32>) {
    while let Some((pid, status)) = os::pid::reap_any() {
        if let Some(id) = children.remove(&pid) {
            report(heap, id, status);
        }
    }
}

fn report(heap: &Heap, id: u32, status: i32) {
    let Some(entry) = heap.entry_of(id) else { return };
    entry
        .status
        .store(u64::from(status as u32) + 1, Ordering::Release);
    change_phase(entry);
}

fn change_phase(entry: &crate::heap::layout::ProcessEntry) {
    let phase = entry.phase.load(Ordering::Relaxed);
    entry.phase.swap(phase.wrapping_add(1), Ordering::AcqRel);
    entry.phase.futex_wake(u32::MAX);
}

fn make(
    heap: &'static Heap,
    [id, claims]: [u32; 2],
    mut fds: Vec<OwnedFd>,
    socket: &OwnedFd,
    events: &OwnedFd,
    children: &mut HashMap<u32, u32>,
) {
    let failed = |errno: i32| report(heap, id, errno << 8);
    if fds.len() < 4 + claims as usize {
        return failed(1);
    }
    let claim = (claims > 0).then(|| fds.remove(0));
    crate::heap::fork::adopt_as(id, claim.as_ref().map_or(-1, AsRawFd::as_raw_fd));
    match os::fork::fork() {
        Err(_) => failed(1),
        Ok(Forked::Parent(pid)) => {
            children.insert(pid, id);
            if let Some(entry) = heap.entry_of(id) {
                entry.pid.store(u64::from(pid), Ordering::Release);
                change_phase(entry);
            }
        }
        Ok(Forked::Child) => {
            drop(claim);
            let code = run_in_child(heap, fds, socket, events);
            leave::finish(code)
        }
    }
}

/// Takes over the descriptors in the forked child, and runs its function. Returns the exit code.
fn run_in_child(heap: &'static Heap, fds: Vec<OwnedFd>, socket: &OwnedFd, events: &OwnedFd) -> i32 {
    for server_only in [socket, events] {
        // Their owners are on the server's stack, which this copy of it keeps.
        let _ = os::stdio::redirect_to_null(server_only.as_fd());
    }
    os::signal::no_child_events();
    os::signal::unblock_all();
    os::signal::ignore_interrupt(false);
    let mut fds = fds.into_iter();
    let Some(server) = fds.next() else { return 1 };
    for (number, fd) in fds.by_ref().take(3).enumerate() {
        if os::stdio::become_stdio(fd.as_fd(), number as RawFd).is_err() {
            return 1;
        }
    }
    if let Some(lifeline) = fds.next() {
        match os::lifeline::die_with(lifeline.as_fd()) {
            Ok(lifeline_end) => core::mem::forget(lifeline_end),
            Err(_) => return 1,
        }
    }
    super::inherit(server);
    run::run(heap)
}
