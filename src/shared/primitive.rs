//! The types that can be read and written whole.
//!
//! The numbers that users keep in shared memory are no protocol of this crate. So these are `core`'s atomics, without
//! the crash points that those in `wait` have.

use core::fmt;
use core::sync::atomic::Ordering::SeqCst;

mod sealed {
    pub trait Sealed {}
}

/// A type that can be read and written whole: the integers up to 64 bits, `f32`, `f64` and `bool`.
pub trait Primitive: sealed::Sealed + Copy + fmt::Debug + Send + Sync + 'static {
    /// The atomic type that a value lies in, of the same size.
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

/// A [`Primitive`] that can be added to and compared.
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

/// Implements [`Primitive`] for a type that lies in an atomic of another.
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

/// Replaces the value by what `change` makes of it, and returns the one before.
#[inline]
pub(super) fn replace<T: Primitive>(cell: &T::Cell, mut change: impl FnMut(T) -> T) -> T {
    let mut current = T::load(cell);
    loop {
        match T::compare_exchange(cell, current, change(current)) {
            Ok(before) => return before,
            Err(now) => current = now,
        }
    }
}
