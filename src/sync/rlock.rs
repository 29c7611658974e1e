//! The recursive lock: its holder is a thread, which may take it again.

use super::lock::{LockError, Relock};
use crate::codec::{Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::os;
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::robust_lock::RobustLock;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[repr(C, align(64))]
pub(crate) struct RLockLayout {
    head: Head,
    lock: RobustLock,
    _pad: u32,
    /// The thread that holds it (gettid(2)). Like `depth`, written by the holder only, and nothing to anybody else.
    thread: AtomicU64,
    /// How often it has locked.
    depth: AtomicU64,
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for RLockLayout {}

/// Shared memory with a lock of its own begins like this, and has its payload behind it.
#[cfg(not(loom))]
const _: () = assert!(size_of::<RLockLayout>() as u64 == crate::heap::layout::HEAD);

/// The kind of every recursive lock.
pub(crate) const RLOCK: ObjectKind = ObjectKind {
    number: 5,
    name: "recursive lock",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe,
};

/// Names the kind for [`Handle`].
pub(crate) enum RLockKind {}

impl SharedKind for RLockKind {
    type Layout = RLockLayout;
    const KIND: &'static ObjectKind = &RLOCK;
}

fn describe(heap: &Heap, off: Off) -> Facts {
    let shared = heap.shared::<RLockLayout>(off);
    Facts {
        holder: shared.lock.living_owner(),
        thread: shared.thread.load(Ordering::Relaxed) as u32,
        figures: vec![("depth", shared.depth.load(Ordering::Relaxed))],
        ..Facts::default()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as all kinds' functions")]
fn on_holder_death(heap: &Heap, off: Off, dead: u32, _tally: Off) -> Result<()> {
    heap.shared::<RLockLayout>(off).lock.mark_owner_dead(dead);
    Ok(())
}

/// A lock that the thread that holds it may take again; it is free when it was released as often.
///
/// As for [`Lock`](crate::Lock): handles go anywhere in the program, and whoever gets it from a holder that died is told.
///
/// ```
/// use procession::RLock;
/// let lock = RLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// drop(outer);
/// assert_eq!(lock.depth(), 1);
/// drop(inner);
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RLock(Handle<RLockKind>);

impl From<Handle<RLockKind>> for RLock {
    fn from(handle: Handle<RLockKind>) -> Self {
        Self(handle)
    }
}

impl RLock {
    /// A new lock that nobody holds.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    #[inline]
    fn shared(&self) -> &RLockLayout {
        self.0.layout()
    }

    /// Takes the lock, waiting for it, or once more.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`], with the guard, if the last holder died holding it.
    pub fn lock(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if no living thread but this one holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock_until(Deadline::Now)
    }

    /// Takes the lock, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock_until(Deadline::after(timeout))
    }

    #[inline]
    pub(crate) fn lock_until(&self, deadline: Deadline) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        if self.is_held_by_current_thread() {
            self.again();
            return Ok(self.guard());
        }
        super::lock::take(self.0.heap(), &self.shared().lock, self.0.off(), deadline, || {
            self.begin(1);
            self.guard()
        })
    }

    /// A guard for having it locked once.
    #[inline]
    pub(crate) fn guard(&self) -> RLockGuard<'_> {
        self.guard_of(self.0.me())
    }

    /// A guard for the process of this owner id's having it locked once.
    #[inline]
    pub(super) fn guard_of(&self, owner: u32) -> RLockGuard<'_> {
        RLockGuard { lock: self, owner }
    }

    /// This thread, which holds it, takes it once more.
    #[inline]
    fn again(&self) {
        let depth = &self.shared().depth;
        depth.store(depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// This thread has taken it, so often.
    #[inline]
    fn begin(&self, depth: u64) {
        let shared = self.shared();
        let thread = u64::from(os::pid::own_thread());
        shared.thread.store(thread, Ordering::Relaxed);
        shared.depth.store(depth, Ordering::Relaxed);
    }

    /// Takes the lock if it is free this moment, without the questions that [`try_lock`](Self::try_lock) asks.
    #[inline]
    pub(crate) fn try_quick(&self) -> bool {
        if self.is_held_by_current_thread() {
            self.again();
            return true;
        }
        let me = self.0.me();
        let taken = me != 0 && self.shared().lock.try_quick(me);
        if taken {
            self.begin(1);
        }
        taken
    }

    /// Releases it once, for guards given up with [`RLockGuard::forget`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] if this thread does not hold it.
    pub fn release(&self) -> Result<()> {
        if !self.is_held_by_current_thread() {
            return Err(Error::NotLocked);
        }
        let shared = self.shared();
        let depth = shared.depth.load(Ordering::Relaxed);
        shared.depth.store(depth - 1, Ordering::Relaxed);
        if depth == 1 {
            shared.thread.store(0, Ordering::Relaxed);
            shared.lock.unlock_mine(self.0.me());
        }
        Ok(())
    }

    /// Whether this thread holds it.
    #[inline]
    pub fn is_held_by_current_thread(&self) -> bool {
        let shared = self.shared();
        // Only this thread could make both true.
        shared.lock.owner() == self.0.me()
            && shared.thread.load(Ordering::Relaxed) == u64::from(os::pid::own_thread())
    }

    /// How often its holder has locked it; 0 while it is free. Old news at once unless this thread is the holder.
    pub fn depth(&self) -> usize {
        match self.shared().lock.owner() {
            0 => 0,
            _ => self.shared().depth.load(Ordering::Relaxed) as usize,
        }
    }

    pub(crate) fn handle(&self) -> &Handle<RLockKind> {
        &self.0
    }
}

impl Relock for RLock {
    fn unlock_all(&self) -> Result<u64> {
        if !self.is_held_by_current_thread() {
            return Err(Error::NotLocked);
        }
        let shared = self.shared();
        let depth = shared.depth.load(Ordering::Relaxed);
        shared.depth.store(0, Ordering::Relaxed);
        shared.thread.store(0, Ordering::Relaxed);
        shared.lock.unlock_mine(self.0.me());
        Ok(depth)
    }

    fn relock(&self, depth: u64) -> Option<u32> {
        let died = super::lock::take_again(self.0.heap(), &self.shared().lock, self.0.off());
        self.begin(depth);
        died
    }
}

impl fmt::Debug for RLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RLock")
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}

/// The lock is held (once) while this lives. Dropped by a thread that does not hold it, or in a forked child, it does
/// nothing.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct RLockGuard<'l> {
    lock: &'l RLock,
    owner: u32,
}

impl RLockGuard<'_> {
    /// Whether it is this process's: in a forked child the copy of its parent's is not.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.owner == self.lock.0.me()
    }

    /// Keeps the lock held beyond this guard, for [`RLock::release`] to end.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        if self.is_own() {
            let _ = self.lock.release();
        }
    }
}
