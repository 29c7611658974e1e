//! The lifeline: a pipe that ends a daemon when its parent ends.

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Makes the pipe: the read end and the write end. Only this process has the write end, so the pipe breaks when this
/// process ends, however it ends.
pub(crate) fn lifeline() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| Error::errno("pipe2", e))
}

/// Opens the read end of the pipe whose write end is `write`.
pub(crate) fn other_end(write: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", write.as_raw_fd());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(|e| Error::errno("open", e))
}

/// Asks the kernel to send SIGKILL to this process when every copy of the write end of `lifeline` is closed.
///
/// With `O_ASYNC`, a descriptor reports input, which includes the end of file, by the signal that `F_SETSIG` names
/// (fcntl(2)). So no thread has to wait for it. Unlike `PR_SET_PDEATHSIG`, it does not depend on the thread that
/// started this process.
///
/// Owner and signal belong to the open file description, which all daemons of a process would share. So each daemon
/// opens the pipe anew. The returned descriptor must stay open.
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
    // The pipe may have broken before the kernel was asked.
    if rustix::io::read(&own, &mut [0u8; 1]) == Ok(0) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .map_err(|e| Error::errno("kill", e))?;
    }
    Ok(own)
}

/// See fcntl(2). The libc crate defines this constant for some targets only.
const F_SETSIG: i32 = 10;
