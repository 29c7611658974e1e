//! Connections over sockets: frames of bytes, to any program that speaks Python's wire format.

use super::address::Address;
use super::error::{RecvIntoError, copy_into};
use super::frame::{self, Decoder};
use super::handshake::{Handshake, NONCE, Side};
use super::newcomer::Newcomer;
use crate::error::{AuthenticationError, Error, Result};
use crate::os;
use crate::os::clock::Deadline;
use crate::os::net::{self, Connecting, PollFlags};
use crate::wait::BACKSTOP;
use crate::wait::interrupt::interrupted;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long a peer has to prove that it has the key, where nothing else is said.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to a [`Listener`](crate::Listener), or from one to its client, over a socket.
///
/// It carries messages of bytes, of any length, in the wire format of Python's `multiprocessing.connection`: the other end
/// may be a Python program, with the standard library or with this package. What is in the bytes is the caller's business.
/// Pickles, for one, should be read only from peers that are trusted with everything, which is what the key says.
///
/// * A message is received whole or not at all. If the peer dies in the middle of one, that is [`Error::Truncated`].
/// * It is the system's buffers that limit how far a sender may be ahead.
/// * [`split`](Self::split) gives the two directions to two threads.
/// * Its descriptor can be polled: it is readable when there is (part of) a message, or the end.
///
/// ```
/// use procession::{Address, Listener, SocketConnection};
///
/// let mut listener = Listener::bind(Address::unused()?, Some(b"the key"))?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || {
///     let mut server = SocketConnection::connect(&address, Some(b"the key"))?;
///     server.send_bytes(b"ping")?;
///     server.recv_bytes()
/// });
/// let mut connection = listener.accept()?;
/// assert_eq!(connection.recv_bytes()?, b"ping");
/// connection.send_bytes(b"pong")?;
/// assert_eq!(client.join().unwrap()?, b"pong");
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Debug)]
pub struct SocketConnection {
    sender: SocketSender,
    receiver: SocketReceiver,
}

/// The half of a [`SocketConnection`] that sends.
#[derive(Debug)]
pub struct SocketSender {
    socket: Arc<OwnedFd>,
    /// What is left of a message that was sent in part.
    rest: Vec<u8>,
}

/// The half of a [`SocketConnection`] that receives.
#[derive(Debug)]
pub struct SocketReceiver {
    socket: Arc<OwnedFd>,
    decoder: Decoder,
}

/// Waits until `socket` is ready for `what`.
fn wait(socket: BorrowedFd<'_>, what: PollFlags, deadline: Deadline) -> Result<()> {
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

impl SocketConnection {
    pub(super) fn over(socket: OwnedFd) -> Self {
        let socket = Arc::new(socket);
        Self {
            sender: SocketSender {
                socket: socket.clone(),
                rest: Vec::new(),
            },
            receiver: SocketReceiver {
                socket,
                decoder: Decoder::new(u64::MAX),
            },
        }
    }

    /// Connects to the listener at `address`. With a key, each side proves to the other that it has it; without one, the
    /// listener must have none. A peer that takes longer than 20 seconds is given up.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`]; [`Error::Os`] if nobody listens there; [`Error::Interrupted`].
    pub fn connect(address: &Address, authkey: Option<&[u8]>) -> Result<Self> {
        Self::connect_timeout(address, authkey, CONNECT_TIMEOUT)
    }

    /// The same, giving up after `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect); [`Error::Timeout`] if not even the connection was made in time.
    pub fn connect_timeout(address: &Address, authkey: Option<&[u8]>, timeout: Duration) -> Result<Self> {
        let deadline = Deadline::after(timeout);
        let socket = reach(address, deadline)?;
        let Some(key) = authkey else {
            return Ok(Self::over(socket));
        };
        let nonce: [u8; NONCE] = os::memory::random_bytes()?;
        let mut newcomer = Newcomer::new(socket, Handshake::new(Side::Client, key, nonce), deadline);
        while !newcomer.advance()? {
            wait(newcomer.socket(), newcomer.waits_for(), deadline).map_err(|error| match error {
                Error::Timeout => AuthenticationError::Silent.into(),
                other => other,
            })?;
        }
        Ok(Self::over(newcomer.into_socket()))
    }

    /// The two directions, each for a thread of its own.
    pub fn split(self) -> (SocketSender, SocketReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`SocketSender::send_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.sender.send_bytes(bytes)
    }

    /// See [`SocketSender::try_send_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.sender.try_send_bytes(bytes)
    }

    /// See [`SocketSender::send_bytes_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.sender.send_bytes_timeout(bytes, timeout)
    }

    /// See [`SocketSender::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn flush(&mut self, timeout: Duration) -> Result<()> {
        self.sender.flush(timeout)
    }

    /// See [`SocketReceiver::recv_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.receiver.recv_bytes()
    }

    /// See [`SocketReceiver::try_recv_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.receiver.try_recv_bytes()
    }

    /// See [`SocketReceiver::recv_bytes_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>> {
        self.receiver.recv_bytes_timeout(timeout)
    }

    /// See [`SocketReceiver::recv_bytes_into`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv_bytes_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        self.receiver.recv_bytes_into(buffer)
    }

    /// See [`SocketReceiver::poll`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        self.receiver.poll(timeout)
    }

    /// See [`SocketReceiver::set_limit`].
    pub fn set_limit(&mut self, bytes: u64) {
        self.receiver.set_limit(bytes);
    }
}

/// A socket connected to `address`.
fn reach(address: &Address, deadline: Deadline) -> Result<OwnedFd> {
    let mut pause = Duration::from_millis(1);
    loop {
        match net::connect(address.endpoint())? {
            Connecting::Done(socket) => return Ok(socket),
            Connecting::Begun(socket) => {
                wait(socket.as_fd(), PollFlags::OUT, deadline)?;
                net::connected(socket.as_fd())?;
                return Ok(socket);
            }
            // There is nothing that tells when it is worth trying again.
            Connecting::Crowded => {
                if deadline.passed() {
                    return Err(Error::Timeout);
                }
                if interrupted() {
                    return Err(Error::Interrupted);
                }
                std::thread::sleep(deadline.left().map_or(pause, |left| left.min(pause)));
                pause = (2 * pause).min(Duration::from_millis(50));
            }
        }
    }
}

impl SocketSender {
    /// Sends a message, waiting while there is no room in the system's buffers.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenPipe`] if the peer is gone (which a message or two may come too early to see); [`Error::Interrupted`];
    /// as for [`send_bytes_timeout`](Self::send_bytes_timeout).
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_until(bytes, Deadline::Never)
    }

    /// Sends a message if there is room.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Full`] if there is none, also because a message sent in part is
    /// still in the way; [`Error::PartlySent`].
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.send_until(bytes, Deadline::Now)
    }

    /// Sends a message, waiting for room for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes). [`Error::Timeout`] if nothing of it was sent. [`Error::PartlySent`] if part
    /// of it was: then the rest is kept here, and goes out with [`flush`](Self::flush) or before the next message.
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.send_until(bytes, Deadline::after(timeout))
    }

    /// Sends what is left of a message that was sent in part, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`send_bytes`](Self::send_bytes); [`Error::Timeout`] if something is still left.
    pub fn flush(&mut self, timeout: Duration) -> Result<()> {
        self.flush_until(Deadline::after(timeout))
    }

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

    /// Has `some` send some until it has sent all; it answers `None` where there is no room.
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
    /// Receives the next message, waiting for it.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the peer is gone; [`Error::Truncated`] if it went in the middle of a message;
    /// [`Error::FrameTooLarge`] and [`Error::BadFrame`], after which nothing more can be received; [`Error::Interrupted`].
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.recv_until(Deadline::Never)
    }

    /// Receives the next message if it is there. What there is of it is kept until the rest is.
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

    /// Receives the next message, waiting for at most `timeout`. What there is of it is kept until the rest is.
    ///
    /// # Errors
    ///
    /// As for [`recv_bytes`](Self::recv_bytes); [`Error::Timeout`].
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>> {
        self.recv_until(Deadline::after(timeout))
    }

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

    /// Receives the next message into the front of `buffer`, waiting for it; answers its length.
    ///
    /// # Errors
    ///
    /// [`RecvIntoError::TooShort`] if the buffer is too short; it has the message. As for [`recv_bytes`](Self::recv_bytes)
    /// otherwise.
    pub fn recv_bytes_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
        let message = self.recv_bytes().map_err(RecvIntoError::Failed)?;
        copy_into(message.into(), buffer)
    }

    /// Waits for at most `timeout` until something of a message is there, or the end; whether it is.
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

    /// Refuses messages of more than `bytes` from now on; there is no limit at first. Memory is taken as a message arrives,
    /// not as it is announced.
    pub fn set_limit(&mut self, bytes: u64) {
        self.decoder.set_limit(bytes);
    }
}

impl AsFd for SocketConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
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
