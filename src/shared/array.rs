//! An array under a lock.

use super::guard::{ArrayGuard, LockedRegion};
use super::region::Region;
use crate::codec::type_number;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::sync::LockError;
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::slice_from_raw_parts_mut;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// An array of fixed length that processes share, with a lock of its own.
///
/// `T` is plain old data ([`Pod`]). Handles and deaths are as for [`Value`](crate::Value).
///
/// ```
/// use procession::{Array, Process};
///
/// fn fill(squares: Array<u64>) -> procession::Result<()> {
///     for (n, square) in squares.lock()?.iter_mut().enumerate() {
///         *square = (n * n) as u64;
///     }
///     Ok(())
/// }
///
/// # procession::init();
/// let squares = Array::new(5)?;
/// Process::spawn(fill, squares.clone())?.join()??;
/// assert_eq!(*squares.lock()?, [0, 1, 4, 9, 16]);
/// # Ok::<(), procession::Error>(())
/// ```
///
/// For counters, [`RawArray`](crate::RawArray) needs no lock.
pub struct Array<T> {
    inner: LockedRegion,
    of: PhantomData<fn() -> T>,
}

/// Makes a region for `len` elements, whose type number is `number`.
pub(super) fn room_for<T>(len: usize, number: u64) -> Result<Region> {
    const {
        assert!(
            align_of::<T>() <= 64,
            "the type wants to be aligned to more than 64 bytes"
        );
        assert!(size_of::<T>() > 0, "the elements have no size");
    };
    // A length beyond `usize` does not fit into the heap either.
    Region::typed(len.saturating_mul(size_of::<T>()), number)
}

impl<T: Pod> Array<T> {
    /// Makes an array of `len` elements, all zero.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::TooLarge`], or what the system said when the program's shared memory was set
    /// up.
    pub fn new(len: usize) -> Result<Self> {
        Ok(Self::of(room_for::<T>(len, type_number::<Self>())?))
    }

    /// Makes an array of these elements.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    #[allow(unsafe_code)]
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        let array = Self::new(elements.len())?;
        // SAFETY: the memory is as long as the slice and aligned for `T`, and nobody else knows of it yet.
        unsafe {
            array
                .first()
                .copy_from_nonoverlapping(elements.as_ptr(), elements.len());
        };
        Ok(array)
    }

    fn of(memory: Region) -> Self {
        Self {
            inner: LockedRegion::new(memory),
            of: PhantomData,
        }
    }

    fn first(&self) -> *mut T {
        self.inner.memory().address().cast()
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.inner.memory().len() / size_of::<T>()
    }

    /// Returns true if the array has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a copy of element `index`.
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfBounds`].
    /// * [`Error::OwnerDied`], once, if the last holder died holding the lock.
    /// * [`Error::AlreadyLocked`] if this thread has a guard of the array.
    /// * [`Error::Interrupted`].
    pub fn get(&self, index: usize) -> Result<T> {
        Ok(*self.element(index)?)
    }

    /// Replaces element `index`.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); the element is unchanged then.
    pub fn set(&self, index: usize, value: T) -> Result<()> {
        *self.element(index)? = value;
        Ok(())
    }

    /// Returns a copy of all elements, as they are at one moment.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn to_vec(&self) -> Result<Vec<T>> {
        Ok(self.inner.briefly(self.slice())?.to_vec())
    }

    fn element(&self, index: usize) -> Result<super::ValueGuard<'_, T>> {
        let len = self.len();
        if index >= len {
            return Err(Error::OutOfBounds { index, len });
        }
        self.inner.briefly(|first| first.cast::<T>().wrapping_add(index))
    }

    /// Returns a function that makes a slice of the address.
    fn slice(&self) -> impl FnOnce(*mut u8) -> *mut [T] + use<T> {
        let len = self.len();
        move |first| slice_from_raw_parts_mut(first.cast(), len)
    }

    /// Locks the array, waiting for it.
    ///
    /// # Errors
    ///
    /// * [`LockError::OwnerDied`], with the guard, if the last holder died holding the lock.
    /// * [`LockError::WouldBlock`] if this thread has a guard already, and would wait for itself.
    /// * [`LockError::Interrupted`].
    pub fn lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.inner.lock(Deadline::Never, self.slice())
    }

    /// Locks the array if no living process has it locked.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.inner.lock(Deadline::Now, self.slice())
    }

    /// Locks the array, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`]; otherwise as for [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ArrayGuard<'_, T>, LockError<ArrayGuard<'_, T>>> {
        self.inner.lock(Deadline::after(timeout), self.slice())
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            of: PhantomData,
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.peek(self.slice()) {
            Some(guard) => f.debug_tuple("Array").field(&&*guard).finish(),
            None => f.write_str("Array(<locked>)"),
        }
    }
}

impl<T: Pod> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.memory().serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fits = |len: usize| len.is_multiple_of(size_of::<T>());
        Region::deserialize(type_number::<Self>(), fits, deserializer).map(Self::of)
    }
}
