//! Waiting until descriptors are readable, by poll(2).
//!
//! *Readable* means that reading would not block, which includes the end of a stream and a read that would fail.

use crate::error::{Error, Result};
use crate::os::clock::span_until;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Waits until a descriptor is readable, the monotonic clock shows `moment`, or a signal handler ran. Returns the
/// indices of the readable ones.
pub(crate) fn readable(fds: &[BorrowedFd<'_>], moment: u64) -> Result<Vec<usize>> {
    let mut asked: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    match rustix::event::poll(&mut asked, Some(&span_until(moment))) {
        Ok(0) | Err(Errno::INTR) => Ok(Vec::new()),
        Ok(_) => Ok((0..fds.len())
            .filter(|&n| !asked[n].revents().is_empty())
            .collect()),
        Err(errno) => Err(Error::errno("poll", errno)),
    }
}

/// Waits until the socket is readable or closed at the other end, for at most `timeout`. Returns whether that
/// happened.
pub(crate) fn readable_within(socket: BorrowedFd<'_>, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).ok();
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    // After a signal the full time starts again: the callers have no strict deadline.
    loop {
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            answer => return answer != Ok(0),
        }
    }
}

/// Waits until one of the two descriptors is readable or closed at the other end. Returns which.
pub(crate) fn wait_readable(fds: [BorrowedFd<'_>; 2]) -> [bool; 2] {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    while rustix::event::poll(&mut polled, None) == Err(Errno::INTR) {}
    polled.map(|fd| !fd.revents().is_empty())
}

/// Returns whether the other end of a socket is closed.
pub(crate) fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|n| n > 0)
}
