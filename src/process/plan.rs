//! What can be asked of a process that is to be started.

use crate::error::Result;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;

/// The ways to start a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StartMethod {
    /// Start this program anew: nothing is inherited but what is passed. About a millisecond. The default.
    #[default]
    Spawn,
    /// Have a single-threaded copy of this program fork: as clean, and several times faster.
    ForkServer,
    /// Copy this process as it is (fork(2)): fastest. Only the calling thread exists in the copy; whatever the other
    /// threads of this process hold (a mutex of the standard library, say) stays held there for ever. This crate's own
    /// objects are safe.
    Fork,
}

/// What a standard stream of a new process is.
#[derive(Debug)]
pub struct Stdio(StdioKind);

#[derive(Debug)]
enum StdioKind {
    Inherit,
    Null,
    Descriptor(OwnedFd),
}

impl Stdio {
    /// The starting process's own.
    pub fn inherit() -> Self {
        Self(StdioKind::Inherit)
    }

    /// Nothing to read, and what is written goes nowhere.
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

/// What a builder was asked for, with everything opened.
pub(super) struct Plan {
    pub name: String,
    pub daemon: bool,
    pub method: StartMethod,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: Option<OsString>,
    pub program: Option<OsString>,
    pub stdio: [Option<OwnedFd>; 3],
    /// A forked daemon's own copy of the lifeline.
    pub lifeline: Option<OwnedFd>,
}
