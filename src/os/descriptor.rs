//! Descriptors: taking over, and copying.

use crate::error::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that this process inherited for its own use. The parent told the number.
#[allow(unsafe_code)]
pub(crate) fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: only asks the flags of a number that may or may not be open.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
        return Err(super::last_error("inherited descriptor"));
    }
    // SAFETY: it is open, and the parent gave it to this process for this purpose, so nothing else here owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)
        .map_err(|e| Error::errno("fcntl", e))?;
    Ok(fd)
}

/// Copies a descriptor, under a number that is not that of a standard stream.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|e| Error::errno("fcntl", e))
}
