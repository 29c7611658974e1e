//! A buffer that each thread keeps from one message to the next.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer with a larger capacity than this is not kept.
const KEEP: usize = 1 << 20;

/// This thread's buffer, which goes back to the thread when it is dropped. While one is in use, another one is new.
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// Takes this thread's buffer, which is empty.
    #[inline]
    pub fn take() -> Self {
        let mut buffer = KEPT.take();
        buffer.clear();
        Self(buffer)
    }
}

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        if self.0.capacity() <= KEEP {
            // Where the thread is ending there is nothing to keep it in, and it is freed.
            let _ = KEPT.try_with(|kept| kept.set(std::mem::take(&mut self.0)));
        }
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;
    #[inline]
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    #[inline]
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
