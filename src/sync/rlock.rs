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
    /// The thread that holds it (gettid(2)). Only the holder writes this and `depth`; while nobody holds it, they
    /// mean nothing.
    thread: AtomicU64,
    /// How often the holder has locked it.
    depth: AtomicU64,
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for RLockLayout {}

/// Shared memory with a lock of its own begins like this, and its payload follows.
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

/// A lock that its holder, a thread, may take again. It is free when it was released as often as it was taken.
///
/// As with [`Lock`](crate::Lock), handles go anywhere in the program, and the thread that gets the lock after its
/// holder died is told.
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
    /// Makes a lock that is free.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    /// Takes the lock: waits for it, or, if this thread holds it, takes it once more.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`], with the guard, if the last holder died holding it.
    #[inline]
    pub fn lock(&self) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if it is free, held by this thread, or held by a dead process.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    #[inline]
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
        match self.try_quick() {
            Some(guard) => Ok(guard),
            None => self.lock_slow(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, deadline: Deadline) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>> {
        let (heap, lock) = (self.0.heap(), &self.0.layout().lock);
        super::lock::take(heap, lock, self.0.off(), deadline, || {
            self.begin(1);
            self.guard_of(self.0.me())
        })
    }

    /// Makes a guard for the process of this owner id, which holds the lock.
    #[inline]
    pub(super) fn guard_of(&self, owner: u32) -> RLockGuard<'_> {
        RLockGuard { lock: self, owner }
    }

    /// Notes that this thread, the holder, has taken the lock once more.
    #[inline]
    fn again(&self) {
        let depth = &self.0.layout().depth;
        depth.store(depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Notes that this thread has taken the lock, `depth` times.
    #[inline]
    fn begin(&self, depth: u64) {
        let shared = self.0.layout();
        let thread = u64::from(os::pid::own_thread());
        shared.thread.store(thread, Ordering::Relaxed);
        shared.depth.store(depth, Ordering::Relaxed);
    }

    /// Takes the lock if it is free at this moment, or held by this thread. Other than [`try_lock`](Self::try_lock),
    /// it does not ask whether the holder lives.
    #[inline]
    pub(crate) fn try_quick(&self) -> Option<RLockGuard<'_>> {
        let me = self.0.me();
        if me != 0 && self.0.layout().lock.try_quick(me) {
            self.begin(1);
        } else if self.is_held_by_current_thread() {
            self.again();
        } else {
            return None;
        }
        Some(self.guard_of(me))
    }

    /// Releases the lock once, for guards given up with [`RLockGuard::forget`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] if this thread does not hold it.
    pub fn release(&self) -> Result<()> {
        if !self.is_held_by_current_thread() {
            return Err(Error::NotLocked);
        }
        let shared = self.0.layout();
        let depth = shared.depth.load(Ordering::Relaxed);
        shared.depth.store(depth - 1, Ordering::Relaxed);
        if depth == 1 {
            shared.thread.store(0, Ordering::Relaxed);
            shared.lock.unlock_mine(self.0.me());
        }
        Ok(())
    }

    /// Returns true if this thread holds the lock.
    #[inline]
    pub fn is_held_by_current_thread(&self) -> bool {
        let (shared, me) = (self.0.layout(), self.0.me());
        // Nobody else can make both true, or either false again. A process without an id holds nothing: to it, a free
        // lock would seem its own.
        me != 0
            && shared.lock.owner() == me
            && shared.thread.load(Ordering::Relaxed) == u64::from(os::pid::own_thread())
    }

    /// Returns how often the holder has locked it, 0 while it is free. Unless this thread is the holder, the answer
    /// may be out of date when you read it.
    pub fn depth(&self) -> usize {
        match self.0.layout().lock.owner() {
            0 => 0,
            _ => self.0.layout().depth.load(Ordering::Relaxed) as usize,
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
        let shared = self.0.layout();
        let depth = shared.depth.load(Ordering::Relaxed);
        shared.depth.store(0, Ordering::Relaxed);
        shared.thread.store(0, Ordering::Relaxed);
        shared.lock.unlock_mine(self.0.me());
        Ok(depth)
    }

    fn relock(&self, depth: u64) -> Option<u32> {
        let died = super::lock::take_again(self.0.heap(), &self.0.layout().lock, self.0.off());
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

/// Holds an [`RLock`] once, until it is dropped. Dropped by a thread that does not hold the lock, or in a forked
/// child, it does nothing.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct RLockGuard<'l> {
    lock: &'l RLock,
    owner: u32,
}

impl RLockGuard<'_> {
    /// Returns true if the guard belongs to this process. In a forked child the copy of its parent's guard does not.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.owner == self.lock.0.me()
    }

    /// Gives up the guard and keeps the lock held, for [`RLock::release`] to release.
    pub fn forget(self) {
        core::mem::forget(self);
    }

    /// Gives up the guard and keeps the lock held, for another guard. Returns the owner id that this has to have.
    #[inline]
    pub(super) fn into_owner(self) -> u32 {
        let owner = self.owner;
        core::mem::forget(self);
        owner
    }
}

impl Drop for RLockGuard<'_> {
    fn drop(&mut self) {
        if self.is_own() {
            let _ = self.lock.release();
        }
    }
}
