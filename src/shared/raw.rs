//! Numbers and arrays of numbers without a lock.

use super::array::room_for;
use super::atomic::Atomic;
use super::primitive::Primitive;
use super::region::Region;
use crate::codec::type_number;
use crate::error::Result;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number (or `bool`) that processes share without a lock: an [`Atomic`].
///
/// There is no lock to hold, so no process can die holding one. For several numbers that must change together there is
/// [`Value`](crate::Value).
///
/// ```
/// use procession::{Process, RawValue};
///
/// fn count(hits: RawValue<u64>) {
///     for _ in 0..1000 {
///         hits.fetch_add(1);
///     }
/// }
///
/// # procession::init();
/// let hits = RawValue::new(0)?;
/// let counters = [(); 2].map(|()| Process::spawn(count, hits.clone()));
/// for counter in counters {
///     counter?.join()?;
/// }
/// assert_eq!(hits.get(), 2000);
/// # Ok::<(), procession::Error>(())
/// ```
pub struct RawValue<T> {
    memory: Region,
    of: PhantomData<fn() -> T>,
}

impl<T: Primitive> RawValue<T> {
    /// Makes a shared number that is `value` at first.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the system said when the program's shared memory
    /// was set up.
    pub fn new(value: T) -> Result<Self> {
        let made = Self::of(room_for::<T>(1, type_number::<Self>())?);
        made.set(value);
        Ok(made)
    }

    fn of(memory: Region) -> Self {
        Self {
            memory,
            of: PhantomData,
        }
    }
}

impl<T: Primitive> Deref for RawValue<T> {
    type Target = Atomic<T>;
    #[inline]
    #[allow(unsafe_code)]
    fn deref(&self) -> &Atomic<T> {
        // SAFETY: the memory is as large as a `T`, aligned to 64 bytes and kept by the handle. It was zero when made,
        // which is a valid value, and all handles to it use it as atomics of this type.
        unsafe { &*self.memory.address().cast::<Atomic<T>>() }
    }
}

/// An array of fixed length of numbers (or `bool`) that processes share without a lock: a slice of [`Atomic`]s.
///
/// ```
/// use procession::RawArray;
/// let histogram = RawArray::<u32>::new(4)?;
/// for roll in [1, 3, 3, 0, 3] {
///     histogram[roll].fetch_add(1);
/// }
/// assert_eq!(histogram.to_vec(), [1, 1, 0, 3]);
/// assert!(histogram.get(4).is_none());
/// # Ok::<(), procession::Error>(())
/// ```
pub struct RawArray<T> {
    memory: Region,
    of: PhantomData<fn() -> T>,
}

impl<T: Primitive> RawArray<T> {
    /// Makes an array of `len` elements, all zero (`false`).
    ///
    /// # Errors
    ///
    /// As for [`RawValue::new`]; [`Error::TooLarge`](crate::Error::TooLarge).
    pub fn new(len: usize) -> Result<Self> {
        Ok(Self::of(room_for::<T>(len, type_number::<Self>())?))
    }

    /// Makes an array of these elements.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn from_slice(elements: &[T]) -> Result<Self> {
        let array = Self::new(elements.len())?;
        for (place, &element) in array.iter().zip(elements) {
            place.set(element);
        }
        Ok(array)
    }

    fn of(memory: Region) -> Self {
        Self {
            memory,
            of: PhantomData,
        }
    }

    /// Returns a copy of the elements. They are read one after the other, not all at one moment.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().map(Atomic::get).collect()
    }
}

impl<T: Primitive> Deref for RawArray<T> {
    type Target = [Atomic<T>];
    #[inline]
    #[allow(unsafe_code)]
    fn deref(&self) -> &[Atomic<T>] {
        let len = self.memory.len() / size_of::<T>();
        // SAFETY: as for `RawValue`, for as many elements as the memory has room for.
        unsafe { core::slice::from_raw_parts(self.memory.address().cast::<Atomic<T>>(), len) }
    }
}

macro_rules! handle {
    ($($name:ident: $fits:expr;)*) => {$(
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                Self { memory: self.memory.clone(), of: PhantomData }
            }
        }

        impl<T: Primitive> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&&**self).finish()
            }
        }

        impl<T: Primitive> Serialize for $name<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.memory.serialize(serializer)
            }
        }

        impl<'de, T: Primitive> Deserialize<'de> for $name<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Region::deserialize(type_number::<Self>(), $fits, deserializer).map(Self::of)
            }
        }
    )*};
}

handle! {
    RawValue: |len| len == size_of::<T>();
    RawArray: |len| len.is_multiple_of(size_of::<T>());
}
