//! A socket with a handshake in progress.

use super::handshake::Handshake;
use crate::error::{AuthenticationError, Error, Result};
use crate::os::clock::Deadline;
use crate::os::net::{self, PollFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A peer that has not yet proved that it has the key.
pub(super) struct Newcomer {
    socket: OwnedFd,
    handshake: Handshake,
    /// The time at which the handshake is given up.
    pub(super) deadline: Deadline,
    /// The time at which the handshake is given up if another client needs its place.
    pub(super) fair: Deadline,
}

/// The time that every peer has for its handshake, even if other clients wait for a place.
const FAIR: Duration = Duration::from_secs(1);

impl Newcomer {
    /// Begins with a handshake that is given up at `deadline`.
    pub(super) fn new(socket: OwnedFd, handshake: Handshake, deadline: Deadline) -> Self {
        Self {
            socket,
            handshake,
            deadline,
            fair: Deadline::after(FAIR),
        }
    }

    /// Returns the peer's socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns the events to poll the socket for.
    pub(super) fn waits_for(&self) -> PollFlags {
        if self.handshake.outgoing().is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        }
    }

    /// Continues the handshake as far as it can without waiting. Returns whether it is done.
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
                // Sends what explains the failure to the peer, if there is room.
                let _ = self.speak();
                return Err(error);
            }
        }
        Ok(false)
    }

    /// Returns the socket, after the handshake.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Sends the outgoing bytes. Returns whether all of them are sent.
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
