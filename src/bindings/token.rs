//! The token of a queue's producers.

use super::raw_queue::{self, RawQueue};
use crate::codec::Handle;
use crate::error::Result;
use crate::queue::{ProducersKind, Token as Inner};

/// What each producer of a [`RawQueue`] has: with the last reference to it, in whatever process, the queue is shut
/// down. See [`Queue::producer`](crate::Queue::producer).
#[derive(Clone, Debug)]
pub struct Token(Inner);

impl Token {
    /// Returns the token of `queue`, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`](crate::Error::ShutDown) if the queue was shut down,
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn of(queue: &RawQueue) -> Result<Self> {
        Inner::of(queue.ring(), raw_queue::number()).map(Self)
    }

    pub(super) fn handle(&self) -> &Handle<ProducersKind> {
        self.0.handle()
    }
}

impl From<Handle<ProducersKind>> for Token {
    fn from(handle: Handle<ProducersKind>) -> Self {
        Self(Inner::from(handle))
    }
}
