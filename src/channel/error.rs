//! What a `send` or a `recv_bytes_into` that fails gives back.

use crate::error::Error;
use crate::os::clock::Deadline;
use crate::queue::Message;
use crate::queue::ring::Refused;
use core::fmt;

/// Why a value was not sent; it is given back.
///
/// With `?` it becomes an [`Error`], and the value is dropped.
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
    /// The other end is gone: nobody will read it.
    Broken(T),
    /// There is no room and the call does not wait.
    Full(T),
    /// There was no room in time.
    Timeout(T),
    /// It could not be encoded, there is no memory for it, or the wait was ended by a hook.
    Failed(T, Error),
}

impl<T> SendError<T> {
    pub(super) fn new(value: T, refused: Refused, deadline: Deadline) -> Self {
        match refused {
            Refused::ShutDown => Self::Broken(value),
            Refused::Full if deadline == Deadline::Now => Self::Full(value),
            Refused::Full => Self::Timeout(value),
            Refused::Failed(error) => Self::Failed(value, error),
        }
    }

    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::Broken(value) | Self::Full(value) | Self::Timeout(value) | Self::Failed(value, _) => value,
        }
    }

    /// The reason alone.
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

/// Why a message is not in the buffer that was given for it.
#[derive(Debug)]
pub enum RecvIntoError {
    /// The message is longer than the buffer. It was taken, and here it is, whole.
    TooShort {
        /// The message.
        message: Message,
        /// Bytes of the buffer.
        room: usize,
    },
    /// There is no message.
    Failed(Error),
}

impl RecvIntoError {
    /// The reason alone.
    pub fn error(&self) -> Error {
        match self {
            Self::TooShort { message, room } => Error::BufferTooShort {
                len: message.len() as u64,
                room: *room as u64,
            },
            Self::Failed(error) => error.clone(),
        }
    }
}

impl fmt::Display for RecvIntoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl std::error::Error for RecvIntoError {}

impl From<RecvIntoError> for Error {
    fn from(error: RecvIntoError) -> Self {
        error.error()
    }
}

/// Copies a message into the front of a buffer; the message's length.
pub(super) fn copy_into(message: Message, buffer: &mut [u8]) -> Result<usize, RecvIntoError> {
    let room = buffer.len();
    match buffer.get_mut(..message.len()) {
        Some(front) => {
            front.copy_from_slice(&message);
            Ok(message.len())
        }
        None => Err(RecvIntoError::TooShort { message, room }),
    }
}
