//! The errors of a handshake.

use serde::{Deserialize, Serialize};

/// Why a connection was not made: who is at the other end cannot be trusted, or does not trust this side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AuthenticationError {
    /// The peer does not have the key.
    #[error("the peer does not have the key")]
    WrongKey,
    /// The peer says that this side does not have the key.
    #[error("the peer has another key")]
    Rejected,
    /// The peer did not say what it should in time.
    #[error("the peer did not say what it should in time")]
    Silent,
    /// The peer went away.
    #[error("the peer went away before it was done")]
    Left,
    /// The peer's process belongs to another user, who has no business at an abstract address.
    #[error("the peer is of another user ({uid})")]
    OtherUser {
        /// The user.
        uid: u32,
    },
    /// What the peer said makes no sense.
    #[error("what the peer said makes no sense: {reason}")]
    Garbled {
        /// What is wrong with it.
        reason: String,
    },
}
