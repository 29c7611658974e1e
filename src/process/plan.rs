//! What is asked of a process that is to be started.

use crate::error::Result;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;

/// How a process is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StartMethod {
    /// Start this program anew: the process inherits nothing but what is passed to it. It takes about a millisecond.
    /// The default.
    #[default]
    Spawn,
    /// Let a single-threaded copy of this program fork: as clean as [`Spawn`](Self::Spawn), and several times faster.
    ForkServer,
    /// Copy this process as it is (fork(2)): fastest. Only the calling thread exists in the copy. Whatever the other
    /// threads of this process hold (a mutex of the standard library, say) stays held there for ever. This crate's
    /// own objects are safe.
    Fork,
}

/// A standard stream for a new process.
#[derive(Debug)]
pub struct Stdio(StdioKind);

#[derive(Debug)]
enum StdioKind {
    Inherit,
    Null,
    Descriptor(OwnedFd),
}

impl Stdio {
    /// Uses the stream of the process that starts the new one.
    pub fn inherit() -> Self {
        Self(StdioKind::Inherit)
    }

    /// Uses the null device: it reads as empty, and what is written to it is discarded.
    pub fn null() -> Self {
        Self(StdioKind::Null)
    }

    pub(super) fn open(self) -> Result<Option<OwnedFd>> {
        match self.0 {
            StdioKind::Inherit => Ok(None),
            StdioKind::Null => crate::os::stdio::null().map(Some),
            StdioKind::Descriptor(fd) => Ok(Some(fd)),
        }
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self(StdioKind::Descriptor(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self(StdioKind::Descriptor(file.into()))
    }
}

/// What a builder was asked for. Every descriptor is open.
pub(super) struct Plan {
    pub name: String,
    pub daemon: bool,
    pub method: StartMethod,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: Option<OsString>,
    pub program: Option<OsString>,
    pub stdio: [Option<OwnedFd>; 3],
    /// A copy of the lifeline for a forked daemon.
    pub lifeline: Option<OwnedFd>,
}
