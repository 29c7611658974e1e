//! The buffer that each thread keeps from one message to the next.

use core::ops::{Deref, DerefMut};
use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer larger than this is freed instead of kept.
const KEEP: usize = 1 << 20;

/// A buffer for the bytes of a message, empty at first. Dropped, it goes back to its thread for the next message.
#[derive(Debug)]
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// Takes this thread's buffer; a new one while the first is in use.
    #[inline]
    pub fn take() -> Self {
        // At the end of a thread its buffer may be gone already.
        let mut buffer = KEPT.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        Self(buffer)
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

impl Drop for Scratch {
    #[inline]
    fn drop(&mut self) {
        if self.0.capacity() <= KEEP {
            let buffer = core::mem::take(&mut self.0);
            let _ = KEPT.try_with(|kept| kept.set(buffer));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Returns where this thread's buffer is, having left it as it was.
    fn place() -> *const u8 {
        Scratch::take().as_ptr()
    }

    #[test]
    fn a_buffer_is_used_again_and_empty() {
        Scratch::take().extend_from_slice(&[7; 100]);
        let first = place();
        let again = Scratch::take();
        assert!(again.is_empty());
        assert!(again.capacity() >= 100);
        assert_eq!(again.as_ptr(), first);
    }

    #[test]
    fn two_at_once_are_two() {
        Scratch::take().push(1);
        let (first, mut second) = (Scratch::take(), Scratch::take());
        second.push(2);
        assert!(first.is_empty());
    }

    #[test]
    fn a_buffer_comes_back_after_a_panic() {
        Scratch::take().extend_from_slice(&[7; 100]);
        let panicked = std::panic::catch_unwind(|| {
            let _buffer = Scratch::take();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
        assert!(Scratch::take().capacity() >= 100);
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        Scratch::take().reserve(KEEP + 1);
        assert_eq!(Scratch::take().capacity(), 0);
    }
}
