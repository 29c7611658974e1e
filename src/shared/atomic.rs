//! Numbers that are read and written whole, without a lock.
//!
//! What a user keeps in shared memory is no protocol of this crate, so these are `core`'s atomics as they are, without the
//! crash points of those in `wait`.

use core::fmt;
use core::sync::atomic::Ordering::SeqCst;

mod sealed {
    pub trait Sealed {}
}

/// What can be read and written whole: the integers up to 64 bits, `f32`, `f64` and `bool`.
pub trait Primitive: sealed::Sealed + Copy + fmt::Debug + Send + Sync + 'static {
    /// What it lies in; of the same size.
    #[doc(hidden)]
    type Cell: Send + Sync + 'static;
    #[doc(hidden)]
    fn load(cell: &Self::Cell) -> Self;
    #[doc(hidden)]
    fn store(cell: &Self::Cell, value: Self);
    #[doc(hidden)]
    fn swap(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn compare_exchange(cell: &Self::Cell, current: Self, new: Self) -> Result<Self, Self>;
}

/// An [`Primitive`] that can be added to and compared.
pub trait Number: Primitive {
    #[doc(hidden)]
    fn add(cell: &Self::Cell, n: Self) -> Self;
    #[doc(hidden)]
    fn sub(cell: &Self::Cell, n: Self) -> Self;
    #[doc(hidden)]
    #[must_use]
    fn larger(self, other: Self) -> Self;
    #[doc(hidden)]
    #[must_use]
    fn smaller(self, other: Self) -> Self;
}

/// How a type lies in a cell of another.
macro_rules! atom {
    ($type:ty, $cell:ident, $to:expr, $from:expr) => {
        impl sealed::Sealed for $type {}
        impl Primitive for $type {
            type Cell = core::sync::atomic::$cell;
            #[inline]
            fn load(cell: &Self::Cell) -> Self {
                $from(cell.load(SeqCst))
            }
            #[inline]
            fn store(cell: &Self::Cell, value: Self) {
                cell.store($to(value), SeqCst);
            }
            #[inline]
            fn swap(cell: &Self::Cell, value: Self) -> Self {
                $from(cell.swap($to(value), SeqCst))
            }
            #[inline]
            fn compare_exchange(cell: &Self::Cell, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange($to(current), $to(new), SeqCst, SeqCst)
                    .map($from)
                    .map_err($from)
            }
        }
    };
}

macro_rules! integers {
    ($($type:ty, $cell:ident;)*) => {$(
        atom!($type, $cell, |n| n, |n| n);
        impl Number for $type {
            #[inline]
            fn add(cell: &Self::Cell, n: Self) -> Self {
                cell.fetch_add(n, SeqCst)
            }
            #[inline]
            fn sub(cell: &Self::Cell, n: Self) -> Self {
                cell.fetch_sub(n, SeqCst)
            }
            #[inline]
            fn larger(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline]
            fn smaller(self, other: Self) -> Self {
                self.min(other)
            }
        }
    )*};
}

macro_rules! floats {
    ($($type:ty, $cell:ident;)*) => {$(
        atom!($type, $cell, <$type>::to_bits, <$type>::from_bits);
        impl Number for $type {
            #[inline]
            fn add(cell: &Self::Cell, n: Self) -> Self {
                replace::<Self>(cell, |value| value + n)
            }
            #[inline]
            fn sub(cell: &Self::Cell, n: Self) -> Self {
                replace::<Self>(cell, |value| value - n)
            }
            #[inline]
            fn larger(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline]
            fn smaller(self, other: Self) -> Self {
                self.min(other)
            }
        }
    )*};
}

integers! {
    u8, AtomicU8; u16, AtomicU16; u32, AtomicU32; u64, AtomicU64; usize, AtomicUsize;
    i8, AtomicI8; i16, AtomicI16; i32, AtomicI32; i64, AtomicI64; isize, AtomicIsize;
}
floats! { f32, AtomicU32; f64, AtomicU64; }
atom!(bool, AtomicBool, |b| b, |b| b);

/// Replaces the value by what `change` makes of it; the one that was there.
#[inline]
fn replace<T: Primitive>(cell: &T::Cell, mut change: impl FnMut(T) -> T) -> T {
    let mut current = T::load(cell);
    loop {
        match T::compare_exchange(cell, current, change(current)) {
            Ok(before) => return before,
            Err(now) => current = now,
        }
    }
}

/// A number in shared memory: every operation sees and leaves a whole one, and all processes see all operations in one
/// order. It is what [`RawValue`](crate::RawValue) and the elements of [`RawArray`](crate::RawArray) are.
#[repr(transparent)]
pub struct Atomic<T: Primitive>(T::Cell);

impl<T: Primitive> Atomic<T> {
    /// The value.
    #[inline]
    pub fn get(&self) -> T {
        T::load(&self.0)
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: T) {
        T::store(&self.0, value);
    }

    /// Replaces the value; the one that was there.
    #[inline]
    pub fn swap(&self, value: T) -> T {
        T::swap(&self.0, value)
    }

    /// Replaces the value by `new` if it is `current` (floats: if it has the same bits).
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
    /// The value that is there instead.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(&self.0, current, new)
    }

    /// Replaces the value by what `change` makes of it, which is called again where somebody was faster; the one that was
    /// there.
    #[inline]
    pub fn fetch_update(&self, change: impl FnMut(T) -> T) -> T {
        replace(&self.0, change)
    }
}

impl<T: Number> Atomic<T> {
    /// Adds `n`, wrapping around; the value before.
    #[inline]
    pub fn fetch_add(&self, n: T) -> T {
        T::add(&self.0, n)
    }

    /// Subtracts `n`, wrapping around; the value before.
    #[inline]
    pub fn fetch_sub(&self, n: T) -> T {
        T::sub(&self.0, n)
    }

    /// Raises the value to `n` if it is less; the value before.
    #[inline]
    pub fn fetch_max(&self, n: T) -> T {
        replace(&self.0, |value: T| value.larger(n))
    }

    /// Lowers the value to `n` if it is more; the value before.
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
