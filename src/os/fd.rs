//! Descriptors: the lifeline that ends a daemon with its parent, and the standard streams.

use crate::error::{Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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

/// Takes over a descriptor that the start message names.
#[allow(unsafe_code)]
pub(crate) fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: only asks the flags of a number that may or may not be open.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
        return Err(super::last_error("inherited descriptor"));
    }
    // SAFETY: open, and handed to this process by its parent for this purpose: nobody else here owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)
        .map_err(|e| Error::errno("fcntl", e))?;
    Ok(fd)
}

/// Makes descriptor `to` (0, 1 or 2) the same as `from`.
#[allow(unsafe_code)]
pub(crate) fn become_stdio(from: BorrowedFd<'_>, to: RawFd) -> Result<()> {
    // SAFETY: dup2 onto a standard descriptor, which no owned handle of Rust's stands for.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } == -1 {
        return Err(super::last_error("dup2"));
    }
    Ok(())
}

/// Has descriptor `fd` stand for the null device from here on, so that what it stood for is closed in this process.
#[allow(unsafe_code)]
pub(crate) fn redirect_to_null(fd: BorrowedFd<'_>) -> Result<()> {
    let null = crate::os::spawn::null()?;
    // SAFETY: dup3 replaces what the number stands for; its owner goes on owning the number.
    if unsafe { libc::dup3(null.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) } == -1 {
        return Err(super::last_error("dup3"));
    }
    Ok(())
}
