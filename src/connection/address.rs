//! Where a listener is.

use crate::error::Result;
use crate::os;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a [`Listener`](crate::Listener) is to be found.
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
    /// A Unix socket in the file system. Only its owner may connect; it is removed with the listener, but stays when that
    /// is killed.
    Path(PathBuf),
    /// A Unix socket with a name that is no file, without the zero byte in front of it. Nothing can stay of it. The listener
    /// turns other users away.
    Abstract(Vec<u8>),
    /// TCP, for other machines too. Port 0 lets the system choose one; see [`Listener::address`](crate::Listener::address).
    Tcp(SocketAddr),
}

impl Address {
    /// An abstract address that nobody has, and nobody will guess.
    ///
    /// # Errors
    ///
    /// What the system says if it has no random numbers.
    pub fn unused() -> Result<Self> {
        let random = u128::from_ne_bytes(os::memory::random_bytes()?);
        Ok(Self::Abstract(format!("procession-{random:032x}").into_bytes()))
    }

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
