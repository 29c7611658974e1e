//! Why a message was not put or not got, as the ring says it; and what the user is told, who gave a deadline.

use super::PutError;
use crate::error::Error;
use crate::os::clock::Deadline;

/// Why a message was not put. Nothing was changed.
pub(crate) enum Refused {
    ShutDown,
    /// There is no room, also if the deadline has passed.
    Full,
    Failed(Error),
}

impl Refused {
    /// Returns the public error, in which `value` is given back.
    pub(super) fn with<T>(self, value: T, deadline: Deadline) -> PutError<T> {
        match self {
            Self::ShutDown => PutError::ShutDown(value),
            Self::Full if deadline == Deadline::Now => PutError::Full(value),
            Self::Full => PutError::Timeout(value),
            Self::Failed(error) => PutError::Failed(value, error),
        }
    }

    /// Returns the error of a call that gives nothing back.
    pub(crate) fn into_error(self, deadline: Deadline) -> Error {
        match self {
            Self::ShutDown => Error::ShutDown,
            Self::Full if deadline == Deadline::Now => Error::Full,
            Self::Full => Error::Timeout,
            Self::Failed(error) => error,
        }
    }
}

/// Returns the error of a `get` that found nothing until `deadline`: [`Error::Empty`] only if it did not wait.
pub(crate) fn in_time(error: Error, deadline: Deadline) -> Error {
    match error {
        Error::Empty if deadline != Deadline::Now => Error::Timeout,
        other => other,
    }
}
