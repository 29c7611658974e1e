//! The type of a connection, and connecting to a listener.

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

/// The time that a peer has for the handshake, if the caller gives none.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// One end of a connection over a socket: a client's, or that of the [`Listener`](crate::Listener) that accepted it.
///
/// It carries messages of bytes, of any length, in the wire format of Python's `multiprocessing.connection`: the peer
/// may be a Python program, with the standard library or with this package. The contents of the messages are up to the
/// caller. Load pickles only from peers that you trust to run any code, for instance because they have the key.
///
/// * A message is received whole or not at all. If the peer dies in the middle of a message, that is
///   [`Error::Truncated`].
/// * A sender waits while the system's buffers are full.
/// * [`split`](Self::split) returns the two directions, for two threads.
/// * The descriptor can be polled: it is readable when a part of a message has arrived, or the connection has ended.
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
    /// Makes a connection over `socket`, after the handshake.
    pub(super) fn over(socket: OwnedFd) -> Self {
        let socket = Arc::new(socket);
        Self {
            sender: SocketSender::over(socket.clone()),
            receiver: SocketReceiver::over(socket),
        }
    }

    /// Connects to the listener at `address`.
    ///
    /// With a key, each side proves to the other that it has the key. Without a key, the listener must have none. The
    /// attempt is given up after 20 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`]; [`Error::Os`] if there is no listener at the address; [`Error::Interrupted`].
    pub fn connect(address: &Address, authkey: Option<&[u8]>) -> Result<Self> {
        Self::connect_timeout(address, authkey, CONNECT_TIMEOUT)
    }

    /// Connects like [`connect`](Self::connect), and gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect); [`Error::Timeout`] if the socket was not connected in time.
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

    /// Splits the connection into its two directions, for instance for two threads.
    pub fn split(self) -> (SocketSender, SocketReceiver) {
        (self.sender, self.receiver)
    }

    /// Does what [`SocketSender::send_bytes`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.sender.send_bytes(bytes)
    }

    /// Does what [`SocketSender::try_send_bytes`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.sender.try_send_bytes(bytes)
    }

    /// Does what [`SocketSender::send_bytes_timeout`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn send_bytes_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.sender.send_bytes_timeout(bytes, timeout)
    }

    /// Does what [`SocketSender::flush`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn flush(&mut self, timeout: Duration) -> Result<()> {
        self.sender.flush(timeout)
    }

    /// Does what [`SocketReceiver::recv_bytes`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.receiver.recv_bytes()
    }

    /// Does what [`SocketReceiver::try_recv_bytes`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn try_recv_bytes(&mut self) -> Result<Vec<u8>> {
        self.receiver.try_recv_bytes()
    }

    /// Does what [`SocketReceiver::recv_bytes_timeout`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn recv_bytes_timeout(&mut self, timeout: Duration) -> Result<Vec<u8>> {
        self.receiver.recv_bytes_timeout(timeout)
    }

    /// Does what [`SocketReceiver::recv_bytes_into`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn recv_bytes_into(&mut self, buffer: &mut [u8]) -> Result<usize, RecvIntoError<Vec<u8>>> {
        self.receiver.recv_bytes_into(buffer)
    }

    /// Does what [`SocketReceiver::poll`] does.
    ///
    /// # Errors
    ///
    /// The same as there.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        self.receiver.poll(timeout)
    }

    /// Does what [`SocketReceiver::set_limit`] does.
    pub fn set_limit(&mut self, bytes: u64) {
        self.receiver.set_limit(bytes);
    }
}

/// Connects a socket to `address`.
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
            // The listener's queue is full, and the system does not tell when there is room again.
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
