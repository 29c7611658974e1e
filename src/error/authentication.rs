//! The errors of a handshake.

use serde::{Deserialize, Serialize};

/// Why the handshake of a connection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AuthenticationError {
    /// The peer does not have the key.
    #[error("the peer does not have the key")]
    WrongKey,
    /// The peer answered that this side does not have the key.
    #[error("the peer has another key than this side")]
    Rejected,
    /// The peer did not finish the handshake in time.
    #[error("the handshake timed out")]
    Silent,
    /// The peer closed the connection during the handshake.
    #[error("the peer closed the connection during the handshake")]
    Left,
    /// The peer's process belongs to another user. At an abstract address only processes of the same user are let in.
    #[error("the peer's process belongs to another user (user id {uid})")]
    OtherUser {
        /// The peer's user id.
        uid: u32,
    },
    /// The peer sent a message that is not part of the handshake.
    #[error("the peer broke the handshake's protocol: {reason}")]
    Garbled {
        /// What is wrong with the message.
        reason: String,
    },
}
