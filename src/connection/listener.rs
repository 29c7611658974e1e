//! Listening for connections, and letting in those who have the key.

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

/// Handshakes that go on at the same time. One more waits in the system's queue, until one of these is over or given up.
const NEWCOMERS: usize = 64;

/// Waits for connections at an address, from processes of this program or any other: Rust, or Python's
/// `multiprocessing.connection.Client`.
///
/// With a key, each side proves to the other that it has it, before a byte is taken for anything else, as Python does it
/// (SHA-256; MD5 for peers that know nothing better, which are those with Python up to 3.11). The handshakes of several
/// peers go on side by side while [`accept`](Self::accept) waits: one that connects and says nothing holds nobody up, and is
/// given up after a time ([`set_handshake_timeout`](Self::set_handshake_timeout)).
///
/// See [`SocketConnection`] for an example.
pub struct Listener {
    socket: OwnedFd,
    /// For those who wait elsewhere: readable while there is something to do.
    epoll: ready::Epoll,
    address: Address,
    key: Option<Vec<u8>>,
    handshake_timeout: Duration,
    /// In the order they came.
    newcomers: Vec<Newcomer>,
    _file: Option<SocketFile>,
}

impl Listener {
    /// Listens at `address`. Without a key, everybody who can reach the address gets in.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: the address is taken (a file left behind by a listener that was killed counts), too long, or not to be
    /// had.
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

    /// Where it listens; with the port that the system has chosen, if it has.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How long a peer has to prove that it has the key; 20 seconds at first.
    pub fn set_handshake_timeout(&mut self, timeout: Duration) {
        self.handshake_timeout = timeout;
    }

    /// Waits for the next connection whose peer has the key.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] where a peer does not have it, makes no sense or says nothing: that peer is gone then, and
    /// the listener is as good as before. [`Error::Interrupted`]; what the system says, as that no descriptor is left.
    pub fn accept(&mut self) -> Result<SocketConnection> {
        self.accept_until(Deadline::Never)
    }

    /// The next connection, if it is ready. Handshakes go on only in calls of this or its like.
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

    /// Waits for the next connection for at most `timeout`. Handshakes that are under way then go on with the next call.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept); [`Error::Timeout`].
    pub fn accept_timeout(&mut self, timeout: Duration) -> Result<SocketConnection> {
        self.accept_until(Deadline::after(timeout))
    }

    fn accept_until(&mut self, deadline: Deadline) -> Result<SocketConnection> {
        loop {
            // Those who are under way first: should nobody else be let in for want of a descriptor, they free theirs.
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

    fn has_room(&self) -> bool {
        self.newcomers.len() < NEWCOMERS
    }

    /// Goes on with the handshakes until one is over.
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

    fn dismiss(&mut self, number: usize) -> Newcomer {
        let newcomer = self.newcomers.remove(number);
        self.epoll.remove(newcomer.socket().as_raw_fd());
        newcomer
    }

    /// Whether a newcomer has had its time.
    fn is_late(&self, number: usize) -> bool {
        self.ends(number).passed()
    }

    /// When a newcomer is given up. The one that has been here for longest makes room where there is none.
    fn ends(&self, number: usize) -> Deadline {
        let newcomer = &self.newcomers[number];
        if number == 0 && !self.has_room() {
            newcomer.fair
        } else {
            newcomer.deadline
        }
    }

    /// Begins the handshakes of those who have connected; a connection, where no handshake is asked for.
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
            // It is this side that speaks first.
            if newcomer.advance()? {
                return Ok(Some(SocketConnection::over(newcomer.into_socket())));
            }
            self.epoll.add(newcomer.socket().as_raw_fd())?;
            self.newcomers.push(newcomer);
        }
        Ok(None)
    }

    /// Waits until there may be something to do; whether a socket says so.
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

/// The file of a Unix socket, removed with the listener by the process that made it.
struct SocketFile {
    path: PathBuf,
    /// Device and number: what stands there later may be somebody else's.
    identity: (u64, u64),
    owner: u32,
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        // The current folder may be another one by then.
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
            // It is gone already, or in a folder that cannot be written to any more: nothing to be done.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl AsFd for Listener {
    /// Readable when [`try_accept`](Self::try_accept) has something to do: somebody has connected, or goes on with a
    /// handshake. For waiting for several things at once.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl fmt::Debug for Listener {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("newcomers", &self.newcomers.len())
            .finish_non_exhaustive()
    }
}
