//! Numbers that are read and written whole, without a lock.

use super::primitive::{Number, Primitive, replace};
use core::fmt;

/// A number in shared memory. Every operation sees and leaves a whole number, and all processes see all operations in
/// one order. A [`RawValue`](crate::RawValue) is one, and so are the elements of a [`RawArray`](crate::RawArray).
#[repr(transparent)]
pub struct Atomic<T: Primitive>(T::Cell);

impl<T: Primitive> Atomic<T> {
    /// Returns the value.
    #[inline]
    pub fn get(&self) -> T {
        T::load(&self.0)
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: T) {
        T::store(&self.0, value);
    }

    /// Replaces the value, and returns the one before.
    #[inline]
    pub fn swap(&self, value: T) -> T {
        T::swap(&self.0, value)
    }

    /// Replaces the value by `new` if it is `current` (for floats: if it has the same bits). Returns the value before.
    ///
    /// ```
    /// let seat = procession::RawValue::new(0_u32)?;
    /// assert_eq!(seat.compare_exchange(0, 7), Ok(0));
    /// assert_eq!(seat.compare_exchange(0, 8), Err(7));
    /// # Ok::<(), procession::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the value that is there instead.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(&self.0, current, new)
    }

    /// Replaces the value by what `change` makes of it, and returns the one before. If another thread changes the value
    /// meanwhile, `change` is called again.
    #[inline]
    pub fn fetch_update(&self, change: impl FnMut(T) -> T) -> T {
        replace(&self.0, change)
    }
}

impl<T: Number> Atomic<T> {
    /// Adds `n`, wrapping around, and returns the value before.
    #[inline]
    pub fn fetch_add(&self, n: T) -> T {
        T::add(&self.0, n)
    }

    /// Subtracts `n`, wrapping around, and returns the value before.
    #[inline]
    pub fn fetch_sub(&self, n: T) -> T {
        T::sub(&self.0, n)
    }

    /// Raises the value to `n` if it is less, and returns the value before.
    #[inline]
    pub fn fetch_max(&self, n: T) -> T {
        replace(&self.0, |value: T| value.larger(n))
    }

    /// Lowers the value to `n` if it is more, and returns the value before.
    #[inline]
    pub fn fetch_min(&self, n: T) -> T {
        replace(&self.0, |value: T| value.smaller(n))
    }
}

impl<T: Primitive> fmt::Debug for Atomic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
