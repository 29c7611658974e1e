//! Everything that asks the operating system. Another system would be a second room like this one.
//!
//! Nothing above this room makes a system call of its own. Every function retries `EINTR` unless it says otherwise and
//! takes deadlines from the monotonic clock.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod fd;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod kept;
pub(crate) mod memory;
pub(crate) mod net;
pub(crate) mod pid;
pub(crate) mod processor;
pub(crate) mod ready;
pub(crate) mod robust;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod witness;

use crate::error::Error;

/// The error that the last failed libc call of this thread left behind, named after the call.
pub(crate) fn last_error(call: &str) -> Error {
    Error::os(call, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
