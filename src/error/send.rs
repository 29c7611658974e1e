//! The error of sending through a pipe.

use super::Error;
use core::fmt;

/// Why a value was not sent through a pipe. It gives the value back.
///
/// With `?` this error becomes an [`Error`], and the value is dropped.
///
/// ```
/// use procession::{Error, SendError, pipe};
/// let (here, there) = pipe::<String, ()>()?;
/// drop(there);
/// match here.send("hello?".to_string()) {
///     Err(SendError::Broken(text)) => assert_eq!(text, "hello?"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Error>(())
/// ```
pub enum SendError<T> {
    /// The other end is gone, so the value could never be received.
    Broken(T),
    /// The pipe has no room, and the call does not wait.
    Full(T),
    /// The pipe had no room until the timeout.
    Timeout(T),
    /// The value could not be encoded, there is no memory for it, or a hook ended the wait.
    Failed(T, Error),
}

impl<T> SendError<T> {
    /// Returns the value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Broken(value) | Self::Full(value) | Self::Timeout(value) | Self::Failed(value, _) => value,
        }
    }

    /// Returns the reason without the value.
    pub fn error(&self) -> Error {
        match self {
            Self::Broken(_) => Error::BrokenPipe,
            Self::Full(_) => Error::Full,
            Self::Timeout(_) => Error::Timeout,
            Self::Failed(_, error) => error.clone(),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendError").field(&self.error()).finish()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<T> std::error::Error for SendError<T> {}

impl<T> From<SendError<T>> for Error {
    fn from(error: SendError<T>) -> Self {
        error.error()
    }
}
