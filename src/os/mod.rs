//! The operating system: every system call of the crate. Another system would be a second module like this one.
//!
//! Nothing above this module makes a system call of its own. Every function retries `EINTR` unless its documentation
//! says otherwise, and takes deadlines from the monotonic clock.
//!
//! | file | what it does |
//! | --- | --- |
//! | `clock` | the monotonic clock, and deadlines on it |
//! | `memory`, `segment`, `random` | making, mapping, committing and freeing shared memory; random numbers |
//! | `mapping`, `shm_file`, `file_facts` | files of shared memory with names: their mappings, locks and marks |
//! | `cgroup`, `processor`, `image` | the container's memory limit; processors; the program's own file |
//! | `futex`, `robust` | sleeping on words of shared memory; the C library's robust mutex |
//! | `descriptor`, `kept`, `stdio`, `send_fds` | inherited and kept descriptors, standard streams, sent descriptors |
//! | `poll`, `epoll`, `event_fd` | waiting until descriptors are readable, and waking a thread that waits so |
//! | `spawn`, `fork`, `pid`, `signal` | starting and forking processes, their numbers, their signals |
//! | `witness`, `lifeline` | the lock that proves that a process lives; the pipe that ends a daemon with its parent |
//! | `net` | sockets that listen and connect |

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

/// Holds names that other modules of the crate still use.
pub(crate) mod fd {
    pub(crate) use super::descriptor::inherited;
    pub(crate) use super::lifeline::die_with;
}

/// Holds names that other modules of the crate still use.
pub(crate) mod ready {
    pub(crate) use super::epoll::{Added, Epoll};
    pub use super::event_fd::EventFd;
    pub(crate) use super::poll::readable;
}

use crate::error::Error;

/// Returns the error of the last libc call of this thread that failed, named after the call.
pub(crate) fn last_error(call: &str) -> Error {
    Error::os(call, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
