//! The token of a queue's producers.

use super::raw_queue::{self, RawQueue};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::object::Object;
use crate::queue::Token as Inner;

/// What each producer of a [`RawQueue`] has: with the last reference to it, in whatever process, the queue is shut down. See
/// [`Queue::producer`](crate::Queue::producer).
#[derive(Clone, Debug)]
pub struct Token(Inner);

impl Token {
    /// Returns the token of `queue`, made if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`](crate::Error::ShutDown) if the queue was shut down, [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn of(queue: &RawQueue) -> Result<Self> {
        Inner::of(queue.ring(), raw_queue::number()).map(Self)
    }

    pub(super) fn object(&self) -> &Object {
        self.0.object()
    }

    pub(super) fn from_object(_heap: &'static Heap, object: Object) -> Self {
        Self(Inner::from_object(object))
    }
}
