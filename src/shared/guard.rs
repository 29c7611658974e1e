//! The only way to a reference into shared memory: while the lock is held.

use super::region::Region;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::sync::{LockError, RLock, RLockGuard};
use core::fmt;
use core::ops::{Deref, DerefMut};

/// Region with the lock at its front.
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

    /// Takes the lock for a guard of what `at` makes of the address. There must be one guard at a time, so the thread that
    /// has it does not get another, although the lock would let it.
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

    /// The same for as long as one call takes. Told of a death, the call does nothing, and the next goes on.
    #[inline]
    pub(super) fn briefly<T: ?Sized>(&self, at: impl FnOnce(*mut u8) -> *mut T) -> Result<ValueGuard<'_, T>> {
        match self.lock(Deadline::Never, at) {
            Ok(guard) => Ok(guard),
            Err(LockError::WouldBlock) => Err(Error::AlreadyLocked),
            Err(error) => Err(error.into()),
        }
    }

    /// A guard for showing what is there, if nobody has one or died with it.
    pub(super) fn peek<T: ?Sized>(&self, at: impl FnOnce(*mut u8) -> *mut T) -> Option<ValueGuard<'_, T>> {
        // A death would be told to nobody here, so it is left for somebody else to hear of.
        if self.lock.is_held_by_current_thread() || !self.lock.try_quick() {
            return None;
        }
        let lock = self.lock.guard();
        Some(ValueGuard {
            lock,
            data: at(self.memory.address()),
        })
    }
}

/// A [`Value`](crate::Value) is locked while this lives, and can be read and changed through it.
///
/// It belongs to the thread and process that took it. In a forked child its copy is empty: using it there panics, and a
/// reference that was taken out of it before the fork must not be used there.
#[must_use = "the value is unlocked when the guard is dropped"]
pub struct ValueGuard<'v, T: ?Sized> {
    lock: RLockGuard<'v>,
    data: *mut T,
}

/// An [`Array`](crate::Array) is locked while this lives, and is a slice.
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
        // SAFETY: `data` points into memory that the handle, which the guard borrows, keeps. It is of a type for which any
        // bytes are valid. This process holds the lock (checked), and there is no other guard in it: the lock gives itself
        // to one thread at a time, `LockedRegion` to a thread once, and a guard cannot go to another thread. Whoever else has the
        // memory gets at it through a guard only.
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
