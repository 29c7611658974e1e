//! The smallest queue of values.

use super::PutError;
use super::producer::Producer;
use super::ring::Ring;
use super::typed::Queue;
use crate::error::Result;
use core::fmt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The smallest queue: it is unbounded, and has only `put` and `get`. Below, it is the same queue as [`Queue`].
///
/// ```
/// use procession::SimpleQueue;
/// let queue = SimpleQueue::new()?;
/// queue.put(1.5)?;
/// assert_eq!(queue.get()?, 1.5);
/// assert!(queue.is_empty());
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct SimpleQueue<T> {
    queue: Queue<T>,
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::debug(self.queue.ring(), "SimpleQueue", f)
    }
}

impl<T> SimpleQueue<T> {
    pub(crate) fn ring(&self) -> &Ring {
        self.queue.ring()
    }

    /// Makes a queue.
    ///
    /// # Errors
    ///
    /// As for [`Queue::unbounded`].
    pub fn new() -> Result<Self> {
        Ok(Self {
            queue: Queue::unbounded()?,
        })
    }

    /// Returns true if there is no message.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns a handle for a producer; see [`Queue::producer`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::producer`].
    pub fn producer(&self) -> Result<Producer<T>> {
        self.queue.producer()
    }
}

impl<T: Serialize> SimpleQueue<T> {
    /// Puts `value`; see [`Queue::put`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::put`].
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.queue.put(value)
    }
}

impl<T: DeserializeOwned> SimpleQueue<T> {
    /// Takes the next message; see [`Queue::get`].
    ///
    /// # Errors
    ///
    /// As for [`Queue::get`].
    pub fn get(&self) -> Result<T> {
        self.queue.get()
    }
}
