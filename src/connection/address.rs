//! Addresses of listeners.

use crate::error::Result;
use crate::os;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of a [`Listener`](crate::Listener).
///
/// ```
/// use procession::Address;
/// let local: Address = std::path::Path::new("/run/user/1000/kitchen").into();
/// let remote: Address = "127.0.0.1:6000".parse::<std::net::SocketAddr>().unwrap().into();
/// assert_eq!(format!("{local} {remote}"), "/run/user/1000/kitchen 127.0.0.1:6000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket with a file. Only processes of the file's owner may connect. The file is removed when the listener
    /// is dropped, but stays if the listener is killed.
    Path(PathBuf),
    /// A Unix socket with an abstract name, which is not a file. The name is given without the leading zero byte.
    /// Nothing is left behind if the listener is killed. The listener refuses processes of other users.
    Abstract(Vec<u8>),
    /// A TCP socket, also for other machines. With port 0 the system chooses a port; see
    /// [`Listener::address`](crate::Listener::address).
    Tcp(SocketAddr),
}

impl Address {
    /// Returns an abstract address that is not in use and cannot be guessed.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if the system has no random numbers.
    pub fn unused() -> Result<Self> {
        let random = u128::from_ne_bytes(os::memory::random_bytes()?);
        Ok(Self::Abstract(format!("procession-{random:032x}").into_bytes()))
    }

    /// Returns the address in the form that system calls take.
    pub(super) fn endpoint(&self) -> os::net::Endpoint<'_> {
        match self {
            Self::Path(path) => os::net::Endpoint::Path(path),
            Self::Abstract(name) => os::net::Endpoint::Abstract(name),
            Self::Tcp(address) => os::net::Endpoint::Tcp(*address),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}
