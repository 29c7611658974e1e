//! A value in memory that this process shares with those it forks.

#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

/// A type that may lie in shared memory, and for which all bytes zero are a value.
///
/// # Safety
///
/// Bytes that are all zero are a valid value, and whatever several processes do with a shared reference to it is sound.
pub unsafe trait Shareable {}

/// A `T` that forked processes share; it begins as zeroes.
pub struct Shared<T: Shareable> {
    place: NonNull<T>,
}

// SAFETY: it gives out shared references only, which `Shareable` promises to be sound among processes, and so threads.
unsafe impl<T: Shareable> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Shareable> Sync for Shared<T> {}

impl<T: Shareable> Shared<T> {
    /// New shared memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new mapping at a place of the system's choice changes nothing that exists.
        let place = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(place) {
            Some(place) if place.as_ptr() != libc::MAP_FAILED => Ok(Self { place: place.cast() }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl<T: Shareable> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: mapped, page-aligned, large enough, zero at first, which `Shareable` says is a value; unmapped by `drop`.
        unsafe { self.place.as_ref() }
    }
}

impl<T: Shareable> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, which no reference outlives.
        unsafe { libc::munmap(self.place.as_ptr().cast(), size_of::<T>()) };
    }
}
