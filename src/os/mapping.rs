//! A file of shared memory, mapped into this process.

use crate::error::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Shared memory in this process's address space. Other processes may change it at any time, so it is read and
/// written by atomics.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: the address and the length do not change, and the memory is accessed by atomics only.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must have that many.
    pub(crate) fn new(file: &OwnedFd, len: usize) -> Result<Self> {
        let base = super::memory::map(file.as_fd(), len as u64)?;
        Ok(Self { base, len })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies the bytes from `at` on into `into`. The caller has checked that the range is inside the mapping.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) {
        let (front, middle) = self.parts(at, into.len());
        let (first, rest) = into.split_at_mut(front);
        for (n, byte) in first.iter_mut().enumerate() {
            *byte = self.byte(at + n).load(Ordering::Relaxed);
        }
        let mut words = rest.chunks_exact_mut(8);
        for (n, word) in words.by_ref().enumerate() {
            let value = self.word(at + front + 8 * n).load(Ordering::Relaxed);
            word.copy_from_slice(&value.to_ne_bytes());
        }
        for (n, byte) in words.into_remainder().iter_mut().enumerate() {
            *byte = self.byte(at + front + middle + n).load(Ordering::Relaxed);
        }
    }

    /// Copies `from` to the bytes from `at` on. The caller has checked that the range is inside the mapping.
    pub(crate) fn write(&self, at: usize, from: &[u8]) {
        let (front, middle) = self.parts(at, from.len());
        let (first, rest) = from.split_at(front);
        for (n, &byte) in first.iter().enumerate() {
            self.byte(at + n).store(byte, Ordering::Relaxed);
        }
        let (words, rest) = rest.as_chunks::<8>();
        for (n, &word) in words.iter().enumerate() {
            self.word(at + front + 8 * n)
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        for (n, &byte) in rest.iter().enumerate() {
            self.byte(at + front + middle + n).store(byte, Ordering::Relaxed);
        }
    }

    /// Splits `len` bytes from `at` on: returns how many lie before the first aligned word, and how many in whole
    /// words.
    fn parts(&self, at: usize, len: usize) -> (usize, usize) {
        assert!(at <= self.len && len <= self.len - at, "the caller has looked");
        let front = (at.next_multiple_of(8) - at).min(len);
        (front, (len - front) / 8 * 8)
    }

    #[allow(unsafe_code)]
    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.len);
        // SAFETY: within the mapping, which lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.base.add(at)) }
    }

    #[allow(unsafe_code)]
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: within the mapping, which lives as long as `self` and begins at a page; aligned, as was just
        // checked.
        unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) }
    }

    /// Returns the four bytes at `at` as an atomic; `None` if they are outside the mapping or not aligned.
    #[allow(unsafe_code)]
    pub(crate) fn atomic_u32(&self, at: usize) -> Option<&AtomicU32> {
        let there = at.is_multiple_of(4) && at.checked_add(4).is_some_and(|end| end <= self.len);
        // SAFETY: within the mapping and aligned, as was just checked.
        there.then(|| unsafe { AtomicU32::from_ptr(self.base.add(at).cast()) })
    }

    /// Returns the eight bytes at `at` as an atomic; `None` if they are outside the mapping or not aligned.
    pub(crate) fn atomic_u64(&self, at: usize) -> Option<&AtomicU64> {
        let there = at.is_multiple_of(8) && at.checked_add(8).is_some_and(|end| end <= self.len);
        there.then(|| self.word(at))
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; every reference into it borrows `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}
