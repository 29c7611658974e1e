//! Processes by number: collecting how a child ended, sending signals, and what a process is doing.
//!
//! Whether a process of the program lives is decided by its [witness](super::witness). Where there is no witness, its
//! pid and its start time (field 22 of /proc/PID/stat, proc(5)) decide. A pid alone proves nothing, because the system
//! reuses it, and it means the same process only within one pid namespace. A pidfd becomes readable only when *every*
//! thread of the process is gone. The state in /proc/PID/stat is that of the first thread alone.

use crate::error::{Error, Result};
use crate::os::clock::{Deadline, span_until};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;

/// Returns the pid of this process.
pub(crate) fn own() -> u32 {
    std::process::id()
}

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// Returns the number of this thread, which is unique on the machine (gettid(2)).
#[inline]
pub(crate) fn own_thread() -> u32 {
    match THREAD.get() {
        0 => ask_own_thread(),
        known => known,
    }
}

#[cold]
#[inline(never)]
fn ask_own_thread() -> u32 {
    // The heap's fork handlers do this too, but there may be no heap.
    static WATCHED: AtomicBool = AtomicBool::new(false);
    super::fork::call_around(&WATCHED, None, None, Some(forget_thread));
    let number = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    THREAD.set(number);
    number
}

/// Forgets the thread's number. Called in a forked child, whose thread has another number than the one it is a copy
/// of.
pub(crate) extern "C" fn forget_thread() {
    THREAD.set(0);
}

/// Opens a descriptor (a pidfd) that polls readable once process `pid` is dead.
pub(crate) fn open(pid: u32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid as i32).ok_or(Errno::SRCH)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty())
}

/// Waits until the process of `pidfd` is dead. Returns false if the deadline came first.
pub(crate) fn wait_dead(pidfd: BorrowedFd<'_>, deadline: Deadline) -> bool {
    loop {
        let span = span_until(deadline.within(u64::MAX));
        let mut asked = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut asked, Some(&span)) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            _ => return true,
        }
    }
}

/// The value for a start time that /proc did not tell.
pub(crate) const UNKNOWN_START: u64 = u64::MAX;

/// Returns when process `pid` started, in clock ticks since boot; `None` if there is no such process, or /proc cannot
/// be read.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    stat(pid)?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Returns when this process started, as [`start_time`] does, but without allocating. A child that was just forked
/// calls this, and its first allocation would pay for what its parent has freed and the allocator has not sorted yet.
pub(crate) fn own_start_time() -> Option<u64> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/self/stat", flags, rustix::fs::Mode::empty()).ok()?;
    let mut stat = [0; 1024];
    let len = rustix::io::read(&file, &mut stat).ok()?;
    let name_end = stat[..len].iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat[name_end + 1..len].split(u8::is_ascii_whitespace).skip(1);
    core::str::from_utf8(fields.nth(19)?).ok()?.parse().ok()
}

/// Returns the fields of /proc/PID/stat from the third on, which is the state (proc(5)).
fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may contain anything.
    Some(stat.rsplit_once(')')?.1.to_owned())
}

/// Returns the inode of this process's pid namespace; 0 where /proc does not tell.
pub(crate) fn namespace() -> u64 {
    rustix::fs::stat(c"/proc/self/ns/pid").map_or(0, |stat| stat.st_ino)
}

/// Returns whether the process that had `pid` and started at `started` (0: unknown) lives, as far as the two can
/// tell.
///
/// A process whose first thread has ended while others run is alive. In doubt the answer is yes: where the system
/// refuses to answer, or another process may have the number by now.
pub(crate) fn seems_alive(pid: u32, started: u64) -> bool {
    match open(pid).map(|pidfd| wait_dead(pidfd.as_fd(), Deadline::Now)) {
        Ok(true) | Err(Errno::SRCH) => return false,
        // There is no free descriptor, or no such system call: the number decides.
        Err(_) if !exists(pid) || is_zombie(pid) => return false,
        Ok(false) | Err(_) => {}
    }
    matches!(started, 0 | UNKNOWN_START) || start_time(pid).is_none_or(|now| now == started)
}

/// Returns whether there is a process with this number. A dead process that was not collected counts.
fn exists(pid: u32) -> bool {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else {
        return false;
    };
    rustix::process::test_kill_process(pid) != Err(Errno::SRCH)
}

/// Returns whether all threads of process `pid` have ended, according to /proc.
fn is_zombie(pid: u32) -> bool {
    let Some(fields) = stat(pid) else { return false };
    let mut fields = fields.split_ascii_whitespace();
    matches!(fields.next(), Some("Z" | "X")) && matches!(fields.nth(16), Some("0" | "1"))
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A thread of the process runs, or waits for a processor.
    Running,
    /// The process is stopped, by a signal or by a debugger.
    Stopped,
    /// All its threads sleep, if only for a disk. The threads of a process that is frozen with its container look the
    /// same.
    Idle,
    /// It cannot be determined.
    Unknown,
}

/// Returns what process `pid` is doing, according to /proc (proc(5), state in /proc/PID/stat and
/// /proc/PID/task/TID/stat).
pub(crate) fn activity(pid: u32) -> Activity {
    let of = |path: &str| -> Option<u8> {
        let stat = std::fs::read(path).ok()?;
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        stat.get(end + 2).copied()
    };
    match of(&format!("/proc/{pid}/stat")) {
        None => Activity::Unknown,
        Some(b'T' | b't') => Activity::Stopped,
        Some(b'R') => Activity::Running,
        // The first thread sleeps, or has ended. Another one may be running.
        Some(_) => {
            let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
                return Activity::Unknown;
            };
            let mut states = threads
                .flatten()
                .filter_map(|thread| of(thread.path().join("stat").to_str()?));
            if states.any(|state| state == b'R') {
                Activity::Running
            } else {
                Activity::Idle
            }
        }
    }
}

/// Sends `signal` to the process of `pidfd`. It is no error if the process is gone.
pub(crate) fn kill(pidfd: BorrowedFd<'_>, signal: rustix::process::Signal) -> Result<()> {
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::errno("pidfd_send_signal", errno)),
    }
}

/// Collects the status of the child `pid` if it has ended, as waitpid(2) returns it.
///
/// `Ok(None)`: the child is still running. `Err`: `pid` is not a child of this process, or its status was collected
/// before.
#[allow(unsafe_code)]
pub(crate) fn reap(pid: u32) -> Result<Option<i32>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid, writable int.
        match unsafe { libc::waitpid(pid as i32, &raw mut status, libc::WNOHANG) } {
            0 => return Ok(None),
            n if n > 0 => return Ok(Some(status)),
            _ => {
                let error = super::last_error("waitpid");
                if !matches!(
                    error,
                    Error::Os {
                        errno: libc::EINTR,
                        ..
                    }
                ) {
                    return Err(error);
                }
            }
        }
    }
}

/// Collects any child of this process that has ended: its pid and status.
#[allow(unsafe_code)]
pub(crate) fn reap_any() -> Option<(u32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a valid, writable int.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid as u32, status))
}

/// Kills and reaps a child that was not published yet.
#[allow(unsafe_code)]
pub(crate) fn abort_child(pid: u32) {
    // SAFETY: the child was not reaped, so the number is still its own.
    unsafe {
        libc::kill(pid as i32, libc::SIGKILL);
        libc::waitpid(pid as i32, core::ptr::null_mut(), 0);
    }
}

/// Sends `signal` to a process that has not been collected.
pub(crate) fn kill_by_number(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else {
        return Ok(());
    };
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::errno("kill", errno)),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore)]
    fn this_process_started_when_others_say_it_did() {
        assert!(own_start_time().is_some());
        assert_eq!(own_start_time(), start_time(own()));
    }
}
