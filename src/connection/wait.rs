//! Waiting for a socket.

use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::os::net::{self, PollFlags};
use crate::wait::BACKSTOP;
use crate::wait::interrupt::interrupted;
use std::os::fd::BorrowedFd;

/// Waits until `socket` is ready for `what`. The hook of [`on_interrupt`](crate::on_interrupt) may end the wait.
pub(super) fn wait(socket: BorrowedFd<'_>, what: PollFlags, deadline: Deadline) -> Result<()> {
    loop {
        if net::poll(&mut [net::asked(socket, what)], deadline, BACKSTOP)? {
            return Ok(());
        }
        if deadline.passed() {
            return Err(Error::Timeout);
        }
        if interrupted() {
            return Err(Error::Interrupted);
        }
    }
}
