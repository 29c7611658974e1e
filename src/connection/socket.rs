//! Connections over sockets: frames of bytes, to any program that speaks Python's wire format.

use super::address::Address;
use super::halves::{SocketReceiver, SocketSender};
use super::handshake::{Handshake, NONCE, Side};
use super::newcomer::Newcomer;
use super::wait::wait;
use crate::error::{AuthenticationError, Error, RecvIntoError, Result};
use crate::os;
use crate::os::clock::Deadline;
use crate::os::net::{self, Connecting, PollFlags};
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

impl SocketConnection {
    pub(super) fn over(socket: OwnedFd) -> Self {
        let socket = Arc::new(socket);
        Self {
            sender: SocketSender::over(socket.clone()),
            receiver: SocketReceiver::over(socket),
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
    pub fn recv_bytes_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvIntoError<Vec<u8>>> {
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

impl AsFd for SocketConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}
