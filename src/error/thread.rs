//! The errors of joining a thread.

use serde::{Deserialize, Serialize};

/// Why [`Thread::join`](crate::thread::Thread::join) has no value to return.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ThreadError {
    /// The function panicked.
    #[error("thread {name:?} panicked at {location}: {message}")]
    Panicked {
        /// The thread's name.
        name: Box<str>,
        /// The panic's message.
        message: Box<str>,
        /// File, line and column.
        location: Box<str>,
    },
    /// The result was taken by an earlier call.
    #[error("the result of thread {name:?} was taken already")]
    AlreadyJoined {
        /// The thread's name.
        name: Box<str>,
    },
}
