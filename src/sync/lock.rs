//! The lock that outlives its holder.

use crate::codec::{Handle, SharedKind};
pub use crate::error::LockError;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::waiter::Purpose;
use crate::os::clock::Deadline;
use crate::os::pid::own_thread;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::interrupt::interrupted;
use crate::wait::robust_lock::{Acquired, Manner, OWNER_DEAD, RobustLock};
use core::cell::Cell;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A lock in shared memory: a robust lock, and nothing else that other processes rely on.
#[repr(C, align(64))]
pub(crate) struct LockLayout {
    head: Head,
    lock: RobustLock,
    _pad: u32,
    /// The thread that holds it (gettid(2)), for the inspection of the program. Only the holder writes it.
    thread: AtomicU64,
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for LockLayout {}

/// The kind of every lock.
pub(crate) const LOCK: ObjectKind = ObjectKind {
    number: 3,
    name: "lock",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe,
};

/// Names the kind for [`Handle`].
pub(crate) enum LockKind {}

impl SharedKind for LockKind {
    type Layout = LockLayout;
    const KIND: &'static ObjectKind = &LOCK;
}

/// Marks the lock of a holder that died: the next thread to take it is told.
#[allow(clippy::unnecessary_wraps, reason = "as all kinds' functions")]
fn on_holder_death(heap: &Heap, off: Off, dead: u32, _tally: Off) -> Result<()> {
    heap.shared::<LockLayout>(off).lock.mark_owner_dead(dead);
    Ok(())
}

fn describe(heap: &Heap, off: Off) -> Facts {
    let shared = heap.shared::<LockLayout>(off);
    Facts {
        holder: shared.lock.living_owner(),
        thread: shared.thread.load(Ordering::Relaxed) as u32,
        ..Facts::default()
    }
}

/// A mutual-exclusion lock between processes and threads.
///
/// A handle can be cloned, passed to processes and sent through queues.
///
/// * **Death.** The process that holds the lock may be killed. The next thread that asks gets the lock within a
///   second, with [`LockError::OwnerDied`], which carries the guard, as [`std::sync::Mutex`] reports poisoning. After
///   that the lock is as usual.
/// * **Recursion.** A thread that locks twice waits for itself; [`RLock`](crate::RLock) may be locked again.
/// * **Fairness.** A thread that comes at the right moment may take the lock before others that wait. Once a thread
///   has waited for about 30 ms, the lock goes to the waiting threads in their order.
///
/// ```
/// use procession::Lock;
/// let lock = Lock::new()?;
/// {
///     let _guard = lock.lock()?;
///     assert!(lock.try_lock().is_err());
/// }
/// assert!(lock.try_lock().is_ok());
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lock(Handle<LockKind>);

impl From<Handle<LockKind>> for Lock {
    fn from(handle: Handle<LockKind>) -> Self {
        Self(handle)
    }
}

impl Lock {
    /// Makes a lock that is free.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    #[inline]
    fn robust(&self) -> &RobustLock {
        &self.0.layout().lock
    }

    /// Notes that this thread has taken the lock.
    #[inline]
    fn begin(&self) {
        let thread = u64::from(own_thread());
        self.0.layout().thread.store(thread, Ordering::Relaxed);
    }

    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`], with the guard, if the last holder died holding it.
    #[inline]
    pub fn lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if no living process holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    #[inline]
    pub fn try_lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock_until(Deadline::Now)
    }

    /// Takes the lock, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock_until(Deadline::after(timeout))
    }

    #[inline]
    pub(crate) fn lock_until(&self, deadline: Deadline) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        match self.try_quick() {
            Some(guard) => Ok(guard),
            None => self.lock_slow(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, deadline: Deadline) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        take(self.0.heap(), self.robust(), self.0.off(), deadline, || {
            self.begin();
            self.guard_of(self.0.me())
        })
    }

    /// Takes the lock if it is free at this moment. Other than [`try_lock`](Self::try_lock), it does not ask whether
    /// the holder lives.
    #[inline]
    pub(crate) fn try_quick(&self) -> Option<LockGuard<'_>> {
        let me = self.0.me();
        if me == 0 || !self.robust().try_quick(me) {
            return None;
        }
        self.begin();
        Some(self.guard_of(me))
    }

    /// Makes a guard for the process of this owner id, which holds the lock.
    #[inline]
    pub(super) fn guard_of(&self, owner: u32) -> LockGuard<'_> {
        LockGuard { lock: self, owner }
    }

    pub(crate) fn handle(&self) -> &Handle<LockKind> {
        &self.0
    }

    /// Releases the lock, even if another thread or another process holds it. This is for locks used as signals, and
    /// for guards given up with [`LockGuard::forget`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] if nobody holds it; [`Error::NoIdentity`].
    pub fn force_unlock(&self) -> Result<()> {
        match self.0.me() {
            0 => Err(Error::NoIdentity),
            me if self.robust().unlock_mine(me) => Ok(()),
            _ => Err(Error::NotLocked),
        }
    }

    /// Returns true if the lock is held. The answer may be out of date when you read it.
    pub fn is_locked(&self) -> bool {
        !matches!(self.robust().owner(), 0 | OWNER_DEAD)
    }
}

/// Takes a user's lock, which belongs to the object at `off`. Once it is held, `guard` makes the guard.
#[inline]
pub(super) fn take<G>(
    heap: &Heap,
    lock: &RobustLock,
    off: Off,
    deadline: Deadline,
    guard: impl FnOnce() -> G,
) -> Result<G, LockError<G>> {
    let ended = Cell::new(false);
    let give_up = || {
        ended.set(interrupted());
        ended.get()
    };
    let announce = || heap.waiting_for(off, Purpose::Lock);
    let alive = |id| heap.alive(id);
    let me = heap.me();
    if me == 0 {
        return Err(LockError::Failed(Error::NoIdentity));
    }
    match lock.lock_as(Manner::USERS, me, deadline, alive, give_up, announce) {
        Some(Acquired::Clean) => Ok(guard()),
        Some(Acquired::OwnerDied(dead)) => {
            let pid = heap.pid_of(dead);
            Err(LockError::OwnerDied { guard: guard(), pid })
        }
        None if ended.get() => Err(LockError::Interrupted),
        None if deadline == Deadline::Now => Err(LockError::WouldBlock),
        None => Err(LockError::Timeout),
    }
}

/// Takes a user's lock again that was released for a wait. No hook can interrupt this. Returns the pid of a holder
/// that died meanwhile, if there was one (0: no longer known).
pub(super) fn take_again(heap: &Heap, lock: &RobustLock, off: Off) -> Option<u32> {
    let announce = || heap.waiting_for(off, Purpose::Lock);
    let alive = |id| heap.alive(id);
    match lock.lock_as(
        Manner::USERS,
        heap.me(),
        Deadline::Never,
        alive,
        || false,
        announce,
    ) {
        Some(Acquired::OwnerDied(dead)) => Some(heap.pid_of(dead)),
        _ => None,
    }
}

/// A lock that is released while its holder waits for a condition.
pub trait Relock {
    /// Releases the lock, however often it is locked, and returns how often that was.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`].
    fn unlock_all(&self) -> Result<u64>;

    /// Takes the lock again, to the depth `depth`. Returns the pid of a holder that died meanwhile, if there was one
    /// (0: no longer known).
    fn relock(&self, depth: u64) -> Option<u32>;
}

impl Relock for Lock {
    fn unlock_all(&self) -> Result<u64> {
        self.force_unlock().map(|()| 1)
    }

    fn relock(&self, _: u64) -> Option<u32> {
        let died = take_again(self.0.heap(), self.robust(), self.0.off());
        self.begin();
        died
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.robust().owner();
        let holder = (owner != 0).then(|| {
            format!(
                "{} (pid {})",
                self.0.heap().name_of(owner),
                self.0.heap().pid_of(owner)
            )
        });
        f.debug_struct("Lock")
            .field("holder", &holder)
            .finish_non_exhaustive()
    }
}

/// Holds a [`Lock`] until it is dropped. In a forked child the copy of a guard does nothing: the parent holds the lock.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard<'l> {
    lock: &'l Lock,
    owner: u32,
}

impl LockGuard<'_> {
    /// Gives up the guard and keeps the lock held, for [`Lock::force_unlock`] to release.
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

impl Drop for LockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.owner == self.lock.0.me() {
            self.lock.robust().unlock_mine(self.owner);
        }
    }
}
