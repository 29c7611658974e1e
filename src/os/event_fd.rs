//! A descriptor that wakes a thread in poll(2) or epoll(7): eventfd(2).

use crate::error::{Error, Result};
use crate::os::kept::Kept;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd};

/// A descriptor that can be raised and lowered (an eventfd). It is readable while it is raised.
#[derive(Debug)]
pub struct EventFd(Kept);

impl EventFd {
    /// Makes one, lowered.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system refuses, for instance because no descriptor is left.
    pub fn new() -> Result<Self> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(|fd| Self(Kept::new(fd)))
            .map_err(|e| Error::errno("eventfd", e))
    }

    /// Makes it readable. Nothing happens if the program closed the descriptor.
    pub fn raise(&self) {
        // The write could only fail after 2^64 - 2 calls.
        if let Some(fd) = self.0.get() {
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }

    /// Makes it not readable.
    pub fn lower(&self) {
        // The read fails if it is lowered already.
        if let Some(fd) = self.0.get() {
            let _ = rustix::io::read(fd, &mut [0u8; 8]);
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.unchecked()
    }
}
