//! The error of receiving into a buffer.

use super::Error;
use core::fmt;
use core::ops::Deref;

/// Why a message was not received into a buffer. `M` is the message's type.
#[derive(Debug)]
pub enum RecvIntoError<M> {
    /// The message is longer than the buffer. It was taken from the pipe or connection, and is given back whole.
    TooShort {
        /// The message.
        message: M,
        /// Bytes of the buffer.
        room: usize,
    },
    /// No message was received, for the reason given.
    Failed(Error),
}

impl<M: Deref<Target = [u8]>> RecvIntoError<M> {
    /// Returns the reason without the message.
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

impl<M: Deref<Target = [u8]>> fmt::Display for RecvIntoError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<M: Deref<Target = [u8]> + fmt::Debug> std::error::Error for RecvIntoError<M> {}

impl<M: Deref<Target = [u8]>> From<RecvIntoError<M>> for Error {
    fn from(error: RecvIntoError<M>) -> Self {
        error.error()
    }
}

/// Copies a message into the front of a buffer, and returns the message's length.
pub(crate) fn copy_into<M: Deref<Target = [u8]>>(
    message: M,
    buffer: &mut [u8],
) -> Result<usize, RecvIntoError<M>> {
    let room = buffer.len();
    match buffer.get_mut(..message.len()) {
        Some(front) => {
            front.copy_from_slice(&message);
            Ok(message.len())
        }
        None => Err(RecvIntoError::TooShort { message, room }),
    }
}
