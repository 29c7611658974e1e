//! A value in memory that this process shares with the processes that it forks.

#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

/// A type that may live in shared memory, and for which all bytes zero are a valid value.
///
/// # Safety
///
/// All bytes zero must be a valid value. Everything that several processes can do with shared references to a value
/// must be sound.
pub unsafe trait Shareable {}

/// A `T` that forked processes share; all its bytes are zero at first.
pub struct Shared<T: Shareable> {
    place: NonNull<T>,
}

// SAFETY: it lends only shared references, which `Shareable` promises to be sound between processes, and so between
// threads.
unsafe impl<T: Shareable> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Shareable> Sync for Shared<T> {}

impl<T: Shareable> Shared<T> {
    /// Allocates new shared memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the system chooses changes no existing memory.
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
        // SAFETY: the memory is mapped, page-aligned and large enough. It is zero at first, which `Shareable` promises
        // to be a valid value. Only `drop` unmaps it.
        unsafe { self.place.as_ref() }
    }
}

impl<T: Shareable> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, which no reference outlives.
        unsafe { libc::munmap(self.place.as_ptr().cast(), size_of::<T>()) };
    }
}
