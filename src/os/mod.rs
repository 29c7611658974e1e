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
pub(crate) mod named;
pub(crate) mod net;
pub(crate) mod pid;
pub(crate) mod ready;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod witness;

use crate::error::Error;

/// The error that the last failed libc call of this thread left behind, named after the call.
pub(crate) fn last_error(call: &str) -> Error {
    Error::os(call, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Number of processors at work in the machine; at least one. Whoever we wait for may run where we may not.
pub(crate) fn processors_online() -> usize {
    std::fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|ranges| count(ranges.trim()))
        .unwrap_or_else(processors)
        .max(1)
}

/// Numbers in a list of ranges such as `0-3,6`.
fn count(ranges: &str) -> Option<usize> {
    ranges.split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(sum + last.checked_sub(first)? + 1)
    })
}

/// Number of processors this process may run on; at least one.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
