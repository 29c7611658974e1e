//! A value under a lock.

use super::guard::{LockedRegion, ValueGuard};
use super::region::Region;
use crate::codec::type_number;
use crate::error::Result;
use crate::os::clock::Deadline;
use crate::sync::LockError;
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A value that processes share, with a lock of its own.
///
/// `T` is plain old data ([`Pod`]): numbers, arrays of them, and structures for which that is derived. A handle can be
/// cloned, passed to processes and sent through queues. The memory is freed with the last handle.
///
/// A process that dies while it holds the lock may leave the value half changed. The next thread to lock the value is
/// told, once: by [`LockError::OwnerDied`], which carries the guard, or by
/// [`Error::OwnerDied`](crate::Error::OwnerDied) from the methods without a guard. Those have then done nothing;
/// called again, they use the value as it is.
///
/// ```
/// use procession::Value;
/// # use procession::bytemuck::{Pod, Zeroable};
/// #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
/// # #[bytemuck(crate = "procession::bytemuck")]
/// #[repr(C)]
/// struct Account {
///     balance: i64,
///     bookings: u64,
/// }
///
/// let account = Value::new(Account { balance: 100, bookings: 0 })?;
/// {
///     let mut account = account.lock()?;
///     account.balance -= 30;
///     account.bookings += 1;
/// }
/// assert_eq!(account.get()?, Account { balance: 70, bookings: 1 });
/// # Ok::<(), procession::Error>(())
/// ```
///
/// For a counter or a flag, [`RawValue`](crate::RawValue) needs no lock.
pub struct Value<T> {
    inner: LockedRegion,
    of: PhantomData<fn() -> T>,
}

impl<T: Pod> Value<T> {
    /// Makes a shared value that is `value` at first.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::TooLarge`](crate::Error::TooLarge), or what the
    /// system said when the program's shared memory was set up.
    #[allow(unsafe_code)]
    pub fn new(value: T) -> Result<Self> {
        const {
            assert!(
                align_of::<T>() <= 64,
                "the type wants to be aligned to more than 64 bytes"
            );
        };
        let memory = Region::typed(size_of::<T>(), type_number::<Self>())?;
        // SAFETY: the memory is as large as a `T` and aligned for it, and nobody else knows of it yet.
        unsafe { memory.address().cast::<T>().write(value) };
        Ok(Self::of(memory))
    }

    fn of(memory: Region) -> Self {
        Self {
            inner: LockedRegion::new(memory),
            of: PhantomData,
        }
    }

    /// Returns a copy of the value.
    ///
    /// # Errors
    ///
    /// * [`Error::OwnerDied`](crate::Error::OwnerDied), once, if the last holder died holding the lock.
    /// * [`Error::AlreadyLocked`](crate::Error::AlreadyLocked) if this thread has a guard of the value.
    /// * [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn get(&self) -> Result<T> {
        Ok(*self.inner.briefly(<*mut u8>::cast::<T>)?)
    }

    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); the value is unchanged then.
    pub fn set(&self, value: T) -> Result<()> {
        *self.inner.briefly(<*mut u8>::cast::<T>)? = value;
        Ok(())
    }

    /// Calls `change` with the value, and returns what that returns.
    ///
    /// ```
    /// let visits = procession::Value::new(1_u32)?;
    /// let before = visits.update(|visits| std::mem::replace(visits, *visits * 2))?;
    /// assert_eq!((before, visits.get()?), (1, 2));
    /// # Ok::<(), procession::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); `change` is not called then.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        Ok(change(&mut *self.inner.briefly(<*mut u8>::cast::<T>)?))
    }

    /// Locks the value, waiting for it.
    ///
    /// # Errors
    ///
    /// * [`LockError::OwnerDied`], with the guard, if the last holder died holding the lock.
    /// * [`LockError::WouldBlock`] if this thread has a guard already, and would wait for itself.
    /// * [`LockError::Interrupted`].
    pub fn lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.inner.lock(Deadline::Never, <*mut u8>::cast)
    }

    /// Locks the value if no living process has it locked.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.inner.lock(Deadline::Now, <*mut u8>::cast)
    }

    /// Locks the value, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`]; otherwise as for [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        self.inner.lock(Deadline::after(timeout), <*mut u8>::cast)
    }
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            of: PhantomData,
        }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.peek(<*mut u8>::cast::<T>) {
            Some(guard) => f.debug_tuple("Value").field(&*guard).finish(),
            None => f.write_str("Value(<locked>)"),
        }
    }
}

impl<T: Pod> Serialize for Value<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.memory().serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fits = |len| len == size_of::<T>();
        Region::deserialize(type_number::<Self>(), fits, deserializer).map(Self::of)
    }
}
