//! References into shared memory, which there are only while the lock is held.

use super::region::Region;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::sync::{LockError, RLock, RLockGuard};
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A region, and the lock at its front.
#[derive(Clone)]
pub(super) struct LockedRegion {
    memory: Region,
    lock: RLock,
}

impl LockedRegion {
    pub(super) fn new(memory: Region) -> Self {
        let lock = RLock::from(memory.handle().cast());
        Self { memory, lock }
    }

    pub(super) fn memory(&self) -> &Region {
        &self.memory
    }

    /// Takes the lock, for a guard of what `at` makes of the address. There must be only one guard at a time, so the
    /// thread that has it gets no second one, although the lock is recursive.
    #[inline]
    pub(super) fn lock<T: ?Sized>(
        &self,
        deadline: Deadline,
        at: impl FnOnce(*mut u8) -> *mut T,
    ) -> Result<ValueGuard<'_, T>, LockError<ValueGuard<'_, T>>> {
        if self.lock.is_held_by_current_thread() {
            return Err(LockError::WouldBlock);
        }
        let data = at(self.memory.address());
        let guard = |lock| ValueGuard { lock, data };
        self.lock
            .lock_until(deadline)
            .map(guard)
            .map_err(|error| error.map(guard))
    }

    /// Takes the lock for the time of one call. After the death of a holder, one call fails and does nothing; the
    /// next goes on.
    #[inline]
    pub(super) fn briefly<T: ?Sized>(&self, at: impl FnOnce(*mut u8) -> *mut T) -> Result<ValueGuard<'_, T>> {
        match self.lock(Deadline::Never, at) {
            Ok(guard) => Ok(guard),
            Err(LockError::WouldBlock) => Err(Error::AlreadyLocked),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a guard to show the contents, if the lock is free and its last holder did not die.
    pub(super) fn peek<T: ?Sized>(&self, at: impl FnOnce(*mut u8) -> *mut T) -> Option<ValueGuard<'_, T>> {
        // Nobody would be told of a death here. So it is left for another call to report.
        if self.lock.is_held_by_current_thread() {
            return None;
        }
        let lock = self.lock.try_quick()?;
        Some(ValueGuard {
            lock,
            data: at(self.memory.address()),
        })
    }
}

/// Keeps a [`Value`](crate::Value) locked while it lives, and gives access to it.
///
/// A guard belongs to the thread and process that took it. In a forked child its copy cannot be used: that panics. A
/// reference that was taken from the guard before the fork must not be used in the child either.
#[must_use = "the value is unlocked when the guard is dropped"]
pub struct ValueGuard<'v, T: ?Sized> {
    lock: RLockGuard<'v>,
    data: *mut T,
}

/// Keeps an [`Array`](crate::Array) locked while it lives, and is a slice of its elements.
///
/// See [`ValueGuard`] for where it may be used.
pub type ArrayGuard<'a, T> = ValueGuard<'a, [T]>;

impl<T: ?Sized> ValueGuard<'_, T> {
    #[inline]
    fn data(&self) -> *mut T {
        assert!(
            self.lock.is_own(),
            "a guard of the parent was used in a forked child"
        );
        self.data
    }
}

impl<T: ?Sized> Deref for ValueGuard<'_, T> {
    type Target = T;
    #[inline]
    #[allow(unsafe_code)]
    fn deref(&self) -> &T {
        // SAFETY: `data` points into memory that is kept by the handle, which the guard borrows. It is of a type for
        // which any bytes are valid. This process holds the lock (checked), and has no other guard: the lock has one
        // thread as its holder, `LockedRegion` gives a thread one guard, and a guard cannot go to another thread. All
        // other handles to the memory give access through a guard only.
        unsafe { &*self.data() }
    }
}

impl<T: ?Sized> DerefMut for ValueGuard<'_, T> {
    #[inline]
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`; `&mut self` makes this the only reference.
        unsafe { &mut *self.data() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ValueGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
