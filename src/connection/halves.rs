//! The two directions of a connection over a socket.

use super::frame::{self, Decoder};
use super::wait::wait;
use crate::error::{Error, RecvIntoError, Result, copy_into};
use crate::os::clock::Deadline;
use crate::os::net::{self, PollFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// The half of a [`SocketConnection`](super::SocketConnection) that sends.
#[derive(Debug)]
pub struct SocketSender {
    socket: Arc<OwnedFd>,
    /// The rest of a message that was sent in part.
    rest: Vec<u8>,
}

/// The half of a [`SocketConnection`](super::SocketConnection) that receives.
#[derive(Debug)]
pub struct SocketReceiver {
    socket: Arc<OwnedFd>,
    decoder: Decoder,
}

impl SocketSender {
    /// Makes the sending half of a connection over `socket`.
    pub(super) fn over(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            rest: Vec::new(),
        }
    }

    /// Sends a message, and waits while there is no room in the system's buffers.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenPipe`] if the peer is gone (the first message or two after its end may still be sent without an
    /// error); [`Error::Interrupted`]; as for [`send_bytes_timeout`](Self::send_bytes_timeout).
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_until(bytes, Deadline::Never)
    }

    /// Sends a message if there is room, without waiting.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes). [`Error::Full`] if there is no room, or the rest of an earlier message
    /// could not be sent. [`Error::PartlySent`].
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_until(bytes, Deadline::Now)
    }

    /// Sends a message, and waits for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes). [`Error::Timeout`] if nothing of the message was sent.
    /// [`Error::PartlySent`] if a part was sent: the rest is kept, and is sent by [`flush`](Self::flush) or before the
    /// next message.
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.send_until(bytes, Deadline::after(timeout))
    }

    /// Sends the rest of a message that was sent in part, and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Timeout`] if a part of the rest is not sent.
    pub fn flush(&mut self, timeout: Duration) -> Result<()> {
        self.flush_until(Deadline::after(timeout))
    }

    /// Sends the rest of the message before, and then this message. Keeps the rest of this one.
    fn send_until(&mut self, bytes: &[u8], deadline: Deadline) -> Result<()> {
        let (header, used) = frame::header(bytes.len());
        let (header, total) = (&header[..used], used + bytes.len());
        let mut sent = 0;
        let outcome = self.flush_until(deadline).and_then(|()| {
            self.push(deadline, || {
                let parts = [&header[sent.min(used)..], &bytes[sent.saturating_sub(used)..]];
                let more = net::send(self.socket.as_fd(), parts)?;
                sent += more.unwrap_or(0);
                Ok(more.map(|_| sent == total))
            })
        });
        match outcome {
            Err(Error::Timeout | Error::Interrupted) if sent > 0 => {
                self.rest = [header, bytes].concat().split_off(sent);
                Err(Error::PartlySent {
                    left: (total - sent) as u64,
                })
            }
            Err(Error::Timeout) if deadline == Deadline::Now => Err(Error::Full),
            other => other,
        }
    }

    /// Sends the rest of the message before.
    fn flush_until(&mut self, deadline: Deadline) -> Result<()> {
        let mut sent = 0;
        let outcome = if self.rest.is_empty() {
            Ok(())
        } else {
            self.push(deadline, || {
                let more = net::send(self.socket.as_fd(), [&self.rest[sent..], &[]])?;
                sent += more.unwrap_or(0);
                Ok(more.map(|_| sent == self.rest.len()))
            })
        };
        self.rest.drain(..sent);
        outcome
    }

    /// Calls `some` until everything is sent. `some` sends what there is room for, and returns whether everything is
    /// sent, or `None` if there is no room.
    fn push(&self, deadline: Deadline, mut some: impl FnMut() -> Result<Option<bool>>) -> Result<()> {
        loop {
            match some()? {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => wait(self.socket.as_fd(), PollFlags::OUT, deadline)?,
            }
        }
    }
}

impl SocketReceiver {
    /// Makes the receiving half of a connection over `socket`.
    pub(super) fn over(socket: Arc<OwnedFd>) -> Self {
        Self {
            socket,
            decoder: Decoder::new(u64::MAX),
        }
    }

    /// Receives the next message, and waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the peer is gone. [`Error::Truncated`] if the connection ended in the middle of a
    /// message. [`Error::FrameTooLarge`] and [`Error::BadFrame`], after which no more messages can be received.
    /// [`Error::Interrupted`].
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.recv_until(Deadline::Never)
    }

    /// Receives the next message if all of it has arrived, without waiting. A part of a message is kept for the next
    /// call.
    ///
    /// # Errors
    ///
    /// As for [`recv_bytes`](Self::recv_bytes); [`Error::Empty`].
    pub fn try_recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.recv_until(Deadline::Now).map_err(|error| match error {
            Error::Timeout => Error::Empty,
            other => other,
        })
    }

    /// Receives the next message, and waits for at most `timeout`. A part of a message is kept for the next call.
    ///
    /// # Errors
    ///
    /// As for [`recv_bytes`](Self::recv_bytes); [`Error::Timeout`].
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>> {
        self.recv_until(Deadline::after(timeout))
    }

    /// Receives the next message before `deadline`.
    fn recv_until(&mut self, deadline: Deadline) -> Result<Vec<u8>> {
        loop {
            match net::receive(self.socket.as_fd(), self.decoder.room()?)? {
                Some(0) => return Err(self.decoder.at_end()),
                Some(n) => {
                    if let Some(message) = self.decoder.filled(n)? {
                        return Ok(message);
                    }
                }
                None => wait(self.socket.as_fd(), PollFlags::IN, deadline)?,
            }
        }
    }

    /// Receives the next message into the front of `buffer`, and waits for it. Returns the message's length.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::TooShort`] if the message is longer than the buffer; the error has the message. Otherwise as
    /// for [`recv_bytes`](Self::recv_bytes).
    pub fn recv_bytes_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvIntoError<Vec<u8>>> {
        let message = self.recv_bytes().map_err(RecvIntoError::Failed)?;
        copy_into(message, buffer)
    }

    /// Waits for at most `timeout` until a part of a message has arrived, or the connection has ended. Returns whether
    /// one of them is so.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        match wait(self.socket.as_fd(), PollFlags::IN, Deadline::after(timeout)) {
            Ok(()) => Ok(true),
            Err(Error::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Refuses messages of more than `bytes` from now on. At first there is no limit. Memory is allocated as a message
    /// arrives, not when its length is announced.
    pub fn set_limit(&mut self, bytes: u64) {
        self.decoder.set_limit(bytes);
    }
}

impl AsFd for SocketSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for SocketReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
