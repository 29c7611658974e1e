//! A socket whose handshake is under way.

use super::handshake::Handshake;
use crate::error::{AuthenticationError, Error, Result};
use crate::os::clock::Deadline;
use crate::os::net::{self, PollFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Somebody who has yet to prove that they have the key.
pub(super) struct Newcomer {
    socket: OwnedFd,
    handshake: Handshake,
    /// When they are given up.
    pub(super) deadline: Deadline,
    /// When they are given up if others want to get in.
    pub(super) fair: Deadline,
}

/// Whoever has not finished after so long makes room for others.
const FAIR: Duration = Duration::from_secs(1);

impl Newcomer {
    pub(super) fn new(socket: OwnedFd, handshake: Handshake, deadline: Deadline) -> Self {
        Self {
            socket,
            handshake,
            deadline,
            fair: Deadline::after(FAIR),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to poll its socket for.
    pub(super) fn waits_for(&self) -> PollFlags {
        if self.handshake.outgoing().is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        }
    }

    /// Goes on as far as it can without waiting; whether both sides know now that the other has the key.
    pub(super) fn advance(&mut self) -> Result<bool> {
        while self.speak()? {
            if self.handshake.is_done() {
                return Ok(true);
            }
            let outcome = match net::receive(self.socket.as_fd(), self.handshake.room()?)? {
                Some(0) => return Err(AuthenticationError::Left.into()),
                Some(n) => self.handshake.filled(n),
                None => return Ok(false),
            };
            if let Err(error) = outcome {
                // They are told so, if there is room to.
                let _ = self.speak();
                return Err(error);
            }
        }
        Ok(false)
    }

    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends what is to be sent; whether that is all.
    fn speak(&mut self) -> Result<bool> {
        while !self.handshake.outgoing().is_empty() {
            match net::send(self.socket.as_fd(), [self.handshake.outgoing(), &[]]) {
                Ok(Some(n)) => self.handshake.sent(n),
                Ok(None) => return Ok(false),
                Err(Error::BrokenPipe) => return Err(AuthenticationError::Left.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
