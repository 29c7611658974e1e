//! The lifeline: the pipe that ends a daemon with its parent.

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A pipe whose write end only this process holds; it breaks when this process ends, however it ends.
pub(crate) fn lifeline() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| Error::errno("pipe2", e))
}

/// The end that reads of the pipe whose end that writes is `write`.
pub(crate) fn other_end(write: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", write.as_raw_fd());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(|e| Error::errno("open", e))
}

/// Has the kernel send SIGKILL to this process when the other end of `lifeline` is closed by everyone.
///
/// fcntl(2): `O_ASYNC` reports input (an end of file too) by the signal that `F_SETSIG` names; so no thread has to watch,
/// and it does not depend on the thread that started us, as `PR_SET_PDEATHSIG` does.
///
/// Owner and signal belong to the open file, which all daemons of a process would share, so each opens the pipe anew. The
/// answer must be kept open.
#[allow(unsafe_code)]
#[must_use = "the watch ends when the descriptor is closed"]
pub(crate) fn die_with(lifeline: BorrowedFd<'_>) -> Result<OwnedFd> {
    let own = other_end(lifeline)?;
    let fd = own.as_raw_fd();
    // SAFETY: plain fcntl calls with integer arguments on a descriptor we borrow.
    let armed = unsafe {
        libc::fcntl(fd, libc::F_SETOWN, libc::getpid()) != -1
            && libc::fcntl(fd, F_SETSIG, libc::SIGKILL) != -1
            && libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) != -1
    };
    if !armed {
        return Err(super::last_error("fcntl"));
    }
    // It may have broken before the kernel was told to watch.
    if rustix::io::read(&own, &mut [0u8; 1]) == Ok(0) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .map_err(|e| Error::errno("kill", e))?;
    }
    Ok(own)
}

/// fcntl(2); the libc crate names it for some targets only.
const F_SETSIG: i32 = 10;
