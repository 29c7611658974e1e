//! The error of taking a lock.

use super::Error;
use core::fmt;

/// Why a lock was not taken as usual.
#[derive(Debug)]
pub enum LockError<G> {
    /// It was taken, but the last holder died: what the lock protects may be half changed.
    OwnerDied {
        /// The lock is held.
        guard: G,
        /// The dead holder, 0 if it is no longer known.
        pid: u32,
    },
    /// Somebody holds it, and the call does not wait.
    WouldBlock,
    /// Somebody held it all the time.
    Timeout,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended the wait.
    Interrupted,
    /// This process cannot take it at all: see the error.
    Failed(Error),
}

impl<G> LockError<G> {
    /// The same with another guard made of the one in it.
    pub(crate) fn map<H>(self, make: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied { guard, pid } => LockError::OwnerDied {
                guard: make(guard),
                pid,
            },
            Self::WouldBlock => LockError::WouldBlock,
            Self::Timeout => LockError::Timeout,
            Self::Interrupted => LockError::Interrupted,
            Self::Failed(error) => LockError::Failed(error),
        }
    }

    /// The guard, if the lock was taken: for what can be put right, or does not matter.
    pub fn into_guard(self) -> Option<G> {
        match self {
            Self::OwnerDied { guard, .. } => Some(guard),
            Self::WouldBlock | Self::Timeout | Self::Interrupted | Self::Failed(_) => None,
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied { pid, .. } => Error::OwnerDied { pid: *pid }.fmt(f),
            Self::WouldBlock => f.write_str("somebody else holds the lock"),
            Self::Timeout => Error::Timeout.fmt(f),
            Self::Interrupted => Error::Interrupted.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G: fmt::Debug> std::error::Error for LockError<G> {}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::OwnerDied { pid, .. } => Self::OwnerDied { pid },
            LockError::WouldBlock | LockError::Timeout => Self::Timeout,
            LockError::Interrupted => Self::Interrupted,
            LockError::Failed(error) => error,
        }
    }
}
