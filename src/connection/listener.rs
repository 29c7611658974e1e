//! Accepting connections, with a handshake for each.

use super::address::Address;
use super::handshake::{Handshake, NONCE, Side};
use super::newcomer::Newcomer;
use super::socket::{CONNECT_TIMEOUT, SocketConnection};
use crate::error::{AuthenticationError, Error, Result};
use crate::os;
use crate::os::clock::Deadline;
use crate::os::net::{self, PollFlags};
use crate::os::ready;
use crate::wait::BACKSTOP;
use crate::wait::interrupt::interrupted;
use core::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest number of handshakes at the same time. More clients wait in the system's queue.
const NEWCOMERS: usize = 64;

/// Accepts connections at an address, from processes of this program or any other: Rust, or Python's
/// `multiprocessing.connection.Client`.
///
/// With a key, each side first proves to the other that it has the key, in Python's protocol (with SHA-256, or with MD5
/// for peers with Python up to 3.11, which have nothing else). While [`accept`](Self::accept) waits, it runs the
/// handshakes of several peers at the same time: a peer that connects and stays silent delays no other, and is given up
/// after a time ([`set_handshake_timeout`](Self::set_handshake_timeout)).
///
/// See [`SocketConnection`] for an example.
pub struct Listener {
    socket: OwnedFd,
    /// For programs that wait elsewhere: readable while [`try_accept`](Self::try_accept) has something to do.
    epoll: ready::Epoll,
    address: Address,
    key: Option<Vec<u8>>,
    handshake_timeout: Duration,
    /// In the order in which they connected.
    newcomers: Vec<Newcomer>,
    _file: Option<SocketFile>,
}

impl Listener {
    /// Listens at `address`. Without a key, every process that can reach the address is accepted.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the address is in use (also by a file that a killed listener left behind), too long, or not
    /// available.
    pub fn bind(address: impl Into<Address>, authkey: Option<&[u8]>) -> Result<Self> {
        let mut address = address.into();
        let socket = net::listen_at(address.endpoint())?;
        let epoll = ready::Epoll::new()?;
        epoll.add(socket.as_raw_fd())?;
        let mut file = None;
        match &mut address {
            Address::Path(path) => file = SocketFile::at(path),
            Address::Tcp(bound) => *bound = net::tcp_address(socket.as_fd())?,
            Address::Abstract(_) => {}
        }
        Ok(Self {
            socket,
            epoll,
            address,
            key: authkey.map(<[u8]>::to_vec),
            handshake_timeout: CONNECT_TIMEOUT,
            newcomers: Vec::new(),
            _file: file,
        })
    }

    /// Returns the address, with the port that the system has chosen if the port was 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sets the time that a peer has for the handshake. It is 20 seconds at first.
    pub fn set_handshake_timeout(&mut self, timeout: Duration) {
        self.handshake_timeout = timeout;
    }

    /// Waits for the next peer that connects and has the key.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if a peer's handshake failed or timed out, or the peer belongs to another user: the
    /// listener has closed that connection, and can accept others. [`Error::Interrupted`]. [`Error::Os`], for instance
    /// if the process has no descriptor left.
    pub fn accept(&mut self) -> Result<SocketConnection> {
        self.accept_until(Deadline::Never)
    }

    /// Returns the next connection if it is ready, without waiting. Handshakes continue only during calls of this
    /// function and the other functions that accept.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept); [`Error::Empty`].
    pub fn try_accept(&mut self) -> Result<SocketConnection> {
        self.accept_until(Deadline::Now).map_err(|error| match error {
            Error::Timeout => Error::Empty,
            other => other,
        })
    }

    /// Waits for the next connection for at most `timeout`. Unfinished handshakes continue with the next call.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept); [`Error::Timeout`].
    pub fn accept_timeout(&mut self, timeout: Duration) -> Result<SocketConnection> {
        self.accept_until(Deadline::after(timeout))
    }

    /// Waits for the next connection until `deadline`.
    fn accept_until(&mut self, deadline: Deadline) -> Result<SocketConnection> {
        loop {
            // Handshakes first: if no descriptor is left for more clients, finished handshakes free theirs.
            if let Some(outcome) = self.advance() {
                return outcome;
            }
            if let Some(connection) = self.admit()? {
                return Ok(connection);
            }
            if deadline.passed() {
                return Err(Error::Timeout);
            }
            if !self.wait(deadline)? && interrupted() {
                return Err(Error::Interrupted);
            }
        }
    }

    /// Returns whether one more handshake may begin.
    fn has_room(&self) -> bool {
        self.newcomers.len() < NEWCOMERS
    }

    /// Continues the handshakes until one has ended. Returns that one's outcome.
    fn advance(&mut self) -> Option<Result<SocketConnection>> {
        let mut number = 0;
        while let Some(newcomer) = self.newcomers.get_mut(number) {
            match newcomer.advance() {
                Ok(true) => {
                    let socket = self.dismiss(number).into_socket();
                    return Some(Ok(SocketConnection::over(socket)));
                }
                Ok(false) if !self.is_late(number) => number += 1,
                Ok(false) => {
                    self.dismiss(number);
                    return Some(Err(AuthenticationError::Silent.into()));
                }
                Err(error) => {
                    self.dismiss(number);
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Takes a newcomer out of the list.
    fn dismiss(&mut self, number: usize) -> Newcomer {
        let newcomer = self.newcomers.remove(number);
        self.epoll.remove(newcomer.socket().as_raw_fd());
        newcomer
    }

    /// Returns whether a newcomer's handshake has timed out.
    fn is_late(&self, number: usize) -> bool {
        self.ends(number).passed()
    }

    /// Returns the time at which a newcomer is given up. While there is no room, the oldest one is given up earlier.
    fn ends(&self, number: usize) -> Deadline {
        let newcomer = &self.newcomers[number];
        if number == 0 && !self.has_room() {
            newcomer.fair
        } else {
            newcomer.deadline
        }
    }

    /// Begins the handshakes of clients that have connected. Without a key, returns the next connection instead.
    fn admit(&mut self) -> Result<Option<SocketConnection>> {
        while self.has_room() {
            let Some(socket) = net::accept(self.socket.as_fd())? else {
                break;
            };
            if let Address::Abstract(_) = self.address
                && let Some(uid) = net::foreign_peer(socket.as_fd())
            {
                return Err(AuthenticationError::OtherUser { uid }.into());
            }
            let Some(key) = &self.key else {
                return Ok(Some(SocketConnection::over(socket)));
            };
            let nonce: [u8; NONCE] = os::memory::random_bytes()?;
            let handshake = Handshake::new(Side::Listener, key, nonce);
            let mut newcomer = Newcomer::new(socket, handshake, Deadline::after(self.handshake_timeout));
            // This side sends the first challenge.
            if newcomer.advance()? {
                return Ok(Some(SocketConnection::over(newcomer.into_socket())));
            }
            self.epoll.add(newcomer.socket().as_raw_fd())?;
            self.newcomers.push(newcomer);
        }
        Ok(None)
    }

    /// Waits until there may be something to do. Returns whether a socket is ready.
    fn wait(&self, deadline: Deadline) -> Result<bool> {
        let mut polled = Vec::with_capacity(1 + self.newcomers.len());
        if self.has_room() {
            polled.push(net::asked(self.socket.as_fd(), PollFlags::IN));
        }
        let mut until = deadline.within(BACKSTOP);
        for (number, newcomer) in self.newcomers.iter().enumerate() {
            polled.push(net::asked(newcomer.socket(), newcomer.waits_for()));
            until = until.min(self.ends(number).within(BACKSTOP));
        }
        net::poll(&mut polled, Deadline::At(until), BACKSTOP)
    }
}

/// The file of a Unix socket. It is removed when the listener is dropped in the process that made it.
struct SocketFile {
    path: PathBuf,
    /// Device and inode: the path may name another file later.
    identity: (u64, u64),
    owner: u32,
}

impl SocketFile {
    /// Remembers the file at `path`, which this process has just made.
    fn at(path: &Path) -> Option<Self> {
        // The current directory may be another one when the file is removed.
        let path = std::path::absolute(path).ok()?;
        Some(Self {
            identity: identity(&path)?,
            path,
            owner: std::process::id(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == std::process::id() && identity(&self.path) == Some(self.identity) {
            // If this fails, the file is gone, or the directory cannot be written to any more.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns the device and inode of the file at `path`.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl AsFd for Listener {
    /// Returns a descriptor for waiting for several things at once. It polls readable when
    /// [`try_accept`](Self::try_accept) has something to do: a client has connected, or has continued its handshake.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl fmt::Debug for Listener {
    /// Writes the listener without its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("newcomers", &self.newcomers.len())
            .finish_non_exhaustive()
    }
}
