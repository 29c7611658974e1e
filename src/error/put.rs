//! The error of putting into a queue.

use super::Error;
use core::fmt;

/// Why a value was not put into a queue. It gives the value back.
///
/// With `?` this error becomes an [`Error`], and the value is dropped.
///
/// ```
/// use procession::{PutError, Queue};
/// let queue = Queue::bounded(1)?;
/// queue.put("first".to_string())?;
/// match queue.try_put("second".to_string()) {
///     Err(PutError::Full(text)) => assert_eq!(text, "second"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), procession::Error>(())
/// ```
pub enum PutError<T> {
    /// The queue was shut down.
    ShutDown(T),
    /// The queue has no room, and the call does not wait.
    Full(T),
    /// The queue had no room until the timeout.
    Timeout(T),
    /// The value could not be encoded, there is no memory for it, or a hook ended the wait.
    Failed(T, Error),
}

impl<T> PutError<T> {
    /// Returns the value that was not put.
    pub fn into_inner(self) -> T {
        match self {
            Self::ShutDown(value) | Self::Full(value) | Self::Timeout(value) | Self::Failed(value, _) => {
                value
            }
        }
    }

    /// Returns the reason without the value.
    pub fn error(&self) -> Error {
        match self {
            Self::ShutDown(_) => Error::ShutDown,
            Self::Full(_) => Error::Full,
            Self::Timeout(_) => Error::Timeout,
            Self::Failed(_, error) => error.clone(),
        }
    }

    /// Returns the same error with the value that `f` makes of the one in it.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> PutError<U> {
        match self {
            Self::ShutDown(value) => PutError::ShutDown(f(value)),
            Self::Full(value) => PutError::Full(f(value)),
            Self::Timeout(value) => PutError::Timeout(f(value)),
            Self::Failed(value, error) => PutError::Failed(f(value), error),
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PutError").field(&self.error()).finish()
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<T> std::error::Error for PutError<T> {}

impl<T> From<PutError<T>> for Error {
    fn from(error: PutError<T>) -> Self {
        error.error()
    }
}
