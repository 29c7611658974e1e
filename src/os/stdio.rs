//! The standard streams, and the null device that can take their place.

use crate::error::Result;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Opens the null device: it reads as empty, and what is written to it is discarded.
pub(crate) fn null() -> Result<OwnedFd> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    Ok(file.into())
}

/// Returns a standard descriptor (0, 1 or 2) of this process.
pub(crate) fn own_stdio(number: usize) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

/// Makes descriptor `to` (0, 1 or 2) a copy of `from`.
#[allow(unsafe_code)]
pub(crate) fn become_stdio(from: BorrowedFd<'_>, to: RawFd) -> Result<()> {
    // SAFETY: dup2 onto a standard descriptor, which no owned handle of Rust's stands for.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } == -1 {
        return Err(super::last_error("dup2"));
    }
    Ok(())
}

/// Makes descriptor `fd` refer to the null device. What it referred to before is closed in this process.
#[allow(unsafe_code)]
pub(crate) fn redirect_to_null(fd: BorrowedFd<'_>) -> Result<()> {
    let null = null()?;
    // SAFETY: dup3 replaces what the number stands for; its owner goes on owning the number.
    if unsafe { libc::dup3(null.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) } == -1 {
        return Err(super::last_error("dup3"));
    }
    Ok(())
}

/// Writes to standard error without the lock of the standard library's `eprintln!`, which another thread may hold. An
/// error is ignored.
pub(crate) fn write_error(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
