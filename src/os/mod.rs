//! Everything that asks the operating system. Another system would be a second room like this one.
//!
//! Nothing above this room makes a system call of its own. Every function retries `EINTR` unless it says otherwise and
//! takes deadlines from the monotonic clock.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod descriptor;
pub(crate) mod epoll;
pub(crate) mod event_fd;
pub(crate) mod file_facts;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod kept;
pub(crate) mod lifeline;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod pid;
pub(crate) mod poll;
pub(crate) mod processor;
pub(crate) mod random;
pub(crate) mod robust;
pub(crate) mod segment;
pub(crate) mod send_fds;
pub(crate) mod shm_file;
pub(crate) mod signal;
pub(crate) mod spawn;
pub(crate) mod stdio;
pub(crate) mod witness;

/// Names that rooms above still use.
pub(crate) mod fd {
    pub(crate) use super::descriptor::inherited;
    pub(crate) use super::lifeline::die_with;
}

/// Names that rooms above still use.
pub(crate) mod ready {
    pub(crate) use super::epoll::{Added, Epoll};
    pub use super::event_fd::EventFd;
    pub(crate) use super::poll::readable;
}

use crate::error::Error;

/// The error that the last failed libc call of this thread left behind, named after the call.
pub(crate) fn last_error(call: &str) -> Error {
    Error::os(call, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
