//! The end of a process: what becomes of its children.
//!
//! A process that ends with exit code 0 waits for its children, as the standard library of Python does, and after a
//! while names them on standard error. A process that ends by an error (`main` returned one or panicked, or `exit`
//! was called with a code) ends them, because what they wait for may never come. Daemons are ended in either case.

use super::children;
use super::forkserver;
use super::known::Child;
use crate::heap::Heap;
use crate::heap::survey::Resident;
use crate::os;
use crate::os::clock::Deadline;
use core::fmt::Write;
use rustix::process::Signal;
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);
/// When the children that this process waits for are named.
const TOLD_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// The maximum number of lines that name children.
const LINES: usize = 4;

/// Registers [`leave`] for the end of this process.
pub(super) fn at_exit() {
    extern "C" fn with_status(status: i32, _: *mut c_void) {
        leave(status);
    }
    extern "C" fn without() {
        leave(0);
    }
    os::fork::at_exit_with_status(with_status, without);
}

/// Finishes a process that ends with this exit status: waits for its children, or ends them, and says in its entry
/// that it ends.
pub(super) fn leave(status: i32) {
    let all = children::take_all();
    for daemon in all.iter().filter(|child| child.daemon) {
        let _ = daemon.signal(Signal::KILL);
    }
    // The system keeps one byte of the status.
    if status as u8 == 0 {
        wait_for(&all);
    } else {
        end(&all);
    }
    forkserver::leave();
    Heap::existing().map(Heap::take_leave);
}

/// Waits for all of them. Names them if that takes long.
fn wait_for(all: &[Arc<Child>]) {
    let begun = os::clock::now();
    let mut rest: Vec<_> = all.iter().collect();
    for timeout in TOLD_AFTER {
        let deadline = Deadline::At(begun + timeout.as_nanos() as u64);
        rest.retain(|child| matches!(child.wait(deadline), Ok(None)));
        if rest.is_empty() {
            return;
        }
        // Not `eprintln!`: another thread may hold its lock, and it panics where there is no standard error.
        os::stdio::write_error(&report(&rest));
    }
    for child in rest {
        let _ = child.wait(Deadline::Never);
    }
}

/// Ends the children and all their descendants: by SIGTERM first, so that they can put things in order.
fn end(all: &[Arc<Child>]) {
    let Some(heap) = all.first().map(|child| child.heap) else {
        return;
    };
    let mut family: Vec<_> = all.iter().map(|child| child.id).collect();
    // Determined while their parents live. Afterwards the links are gone.
    family.extend(heap.descendants(&family));
    signal_all(heap, all, &family, Signal::TERM);
    let deadline = Deadline::after(GRACE);
    for child in all {
        let _ = child.wait(deadline);
    }
    while family.iter().any(|&id| heap.alive(id)) && !deadline.passed() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A process may have been about to start another.
    family.extend(heap.descendants(&family));
    signal_all(heap, all, &family, Signal::KILL);
    for child in all {
        let _ = child.wait(Deadline::Never);
    }
}

/// Sends a signal to the children, and to the members of the family that are not this process's own children.
fn signal_all(heap: &Heap, children: &[Arc<Child>], family: &[u32], signal: Signal) {
    for child in children {
        let _ = child.signal(signal);
    }
    for &id in &family[children.len()..] {
        if let Ok(pidfd) = os::pid::open(heap.pid_of(id))
            // Checked after opening, so the number was this process's when the descriptor was opened.
            && heap.alive(id)
        {
            let _ = os::pid::kill(pidfd.as_fd(), signal);
        }
    }
}

/// Returns the lines that name the children this process waits for, and what they wait for, as far as it is known.
fn report(rest: &[&Arc<Child>]) -> String {
    let residents = rest[0].heap.survey().unwrap_or_default();
    let mut text = String::new();
    for child in rest.iter().take(LINES) {
        let resident = residents.iter().find(|resident| resident.id == child.id);
        let what = resident.and_then(purpose).unwrap_or_default();
        let _ = writeln!(
            text,
            "procession: waiting for {:?} (pid {}){what}",
            child.name, child.pid
        );
    }
    if rest.len() > LINES {
        let _ = writeln!(text, "procession: waiting for {} others", rest.len() - LINES);
    }
    text
}

/// Describes what a process waits for: the longest wait.
fn purpose(resident: &Resident) -> Option<String> {
    let waits = resident
        .references
        .iter()
        .filter_map(|reference| reference.facts.waits);
    let longest = waits.min_by_key(|waits| waits.since)?;
    let thing = resident
        .references
        .iter()
        .find(|reference| reference.off == longest.object)?;
    let seconds = Duration::from_nanos(os::clock::now().saturating_sub(longest.since)).as_secs_f64();
    let (kind, serial, what) = (thing.kind, thing.serial, longest.what);
    let what = if what == kind {
        String::new()
    } else {
        format!(" ({what})")
    };
    Some(format!(
        ", which waits for {kind} {serial}{what} since {seconds:.1} s"
    ))
}

/// Ends a forked child as its program would end, but without the exit functions that its parent registered.
pub(super) fn finish(code: i32) -> ! {
    use std::io::Write;
    leave(code);
    let _ = std::io::stdout().flush();
    os::fork::exit_now(code)
}
