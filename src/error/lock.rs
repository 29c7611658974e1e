//! The error of taking a lock.

use super::Error;
use core::fmt;

/// Why a lock was not taken, or was taken from a dead owner.
#[derive(Debug)]
pub enum LockError<G> {
    /// The lock was taken, but its last owner died: what the lock protects may be half changed.
    OwnerDied {
        /// The guard: this thread holds the lock.
        guard: G,
        /// The dead owner, 0 if it is no longer known.
        pid: u32,
    },
    /// Another thread or process holds the lock, and the call does not wait.
    WouldBlock,
    /// The lock was held by others until the timeout.
    Timeout,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended the wait.
    Interrupted,
    /// This process cannot take the lock at all, for the reason given.
    Failed(Error),
}

impl<G> LockError<G> {
    /// Returns the same error with the guard that `make` makes of the one in it.
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

    /// Returns the guard, if the lock was taken: for callers that can repair what it protects, or do not need to.
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
            Self::WouldBlock => f.write_str("another thread or process holds the lock"),
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
