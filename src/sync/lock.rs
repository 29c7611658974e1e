//! The lock that outlives its holder.

use crate::codec::{Handle, SharedKind};
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

/// A lock in shared memory; the latch is all there is to it.
#[repr(C, align(64))]
pub(crate) struct LockLayout {
    head: Head,
    lock: RobustLock,
    _pad: u32,
    /// The thread that holds it (gettid(2)), written by the holder only: for whoever inspects the program.
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

/// The holder died: whoever waits gets the lock and is told.
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
/// A handle can be cloned, passed to processes and sent through queues. The process that holds the lock may be killed:
/// whoever asks next gets it within a second and is told so by [`LockError::OwnerDied`], which carries the guard, as
/// poisoning is reported by [`std::sync::Mutex`]; the one after that gets it as usual. It is not recursive: a thread that
/// locks twice waits for itself. It is fair in the long run: whoever comes at the right moment may take it before others who
/// wait, but once somebody has waited for some 30 ms it goes to those who wait, in their order.
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
    /// A new lock that nobody holds.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    #[inline]
    fn shared(&self) -> &LockLayout {
        self.0.layout()
    }

    #[inline]
    fn robust(&self) -> &RobustLock {
        &self.shared().lock
    }

    /// This thread has taken it.
    #[inline]
    fn begin(&self) {
        let thread = u64::from(own_thread());
        self.shared().thread.store(thread, Ordering::Relaxed);
    }

    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`], with the guard, if the last holder died holding it.
    pub fn lock(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if nobody living holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
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
        let off = self.0.off();
        take(self.0.heap(), self.robust(), off, deadline, || {
            self.begin();
            self.guard()
        })
    }

    /// Takes the lock if it is free this moment, without the questions that [`try_lock`](Self::try_lock) asks.
    #[inline]
    pub(crate) fn try_quick(&self) -> bool {
        let me = self.0.me();
        let taken = me != 0 && self.robust().try_quick(me);
        if taken {
            self.begin();
        }
        taken
    }

    /// A guard for having it locked.
    #[inline]
    fn guard(&self) -> LockGuard<'_> {
        self.guard_of(self.0.me())
    }

    /// A guard for the process of this owner id's having it locked.
    #[inline]
    pub(super) fn guard_of(&self, owner: u32) -> LockGuard<'_> {
        LockGuard { lock: self, owner }
    }

    pub(crate) fn handle(&self) -> &Handle<LockKind> {
        &self.0
    }

    /// Releases the lock, whoever holds it: another thread, or another process. For locks used as signals, and for
    /// guards given up with [`LockGuard::forget`].
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`] if nobody holds it.
    pub fn force_unlock(&self) -> Result<()> {
        if self.robust().unlock_mine(self.0.me()) {
            Ok(())
        } else {
            Err(Error::NotLocked)
        }
    }

    /// Whether somebody holds it; old news at once.
    pub fn is_locked(&self) -> bool {
        !matches!(self.robust().owner(), 0 | OWNER_DEAD)
    }
}

/// Takes a user's latch, of the object at `off`; `guard` is made once it is held.
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

/// Takes a user's latch that was given up for a while, whatever a hook says; the dead holder, if there was one (0: no longer
/// known).
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

/// What somebody who waits for a condition gives up meanwhile.
pub trait Relock {
    /// Releases it altogether; how often it was locked.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`].
    fn unlock_all(&self) -> Result<u64>;

    /// Takes it again, so often; the dead holder, if there was one (0: no longer known).
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

/// The lock is held while this lives. In a forked child the copy of a guard is empty: the parent holds the lock.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct LockGuard<'l> {
    lock: &'l Lock,
    owner: u32,
}

impl LockGuard<'_> {
    /// Keeps the lock held beyond this guard, for [`Lock::force_unlock`] to end.
    pub fn forget(self) {
        core::mem::forget(self);
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

/// Why a lock was not taken as usual.
#[derive(Debug)]
pub enum LockError<G> {
    /// It was taken, but the last holder died: what the lock protects may be half changed.
    OwnerDied {
        /// The lock is held.
        guard: G,
        /// The dead holder, 0 if it is no longer known.
        pid: u32,
    },
    /// Somebody holds it, and the call does not wait.
    WouldBlock,
    /// Somebody held it all the time.
    Timeout,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended the wait.
    Interrupted,
    /// This process cannot take it at all: see the error.
    Failed(Error),
}

impl<G> LockError<G> {
    /// The same with another guard made of the one in it.
    pub(crate) fn map<H>(self, make: impl FnOnce(G) -> H) -> LockError<H> {
        match self {
            Self::OwnerDied { guard, pid } => LockError::OwnerDied {
                guard: make(guard),
                pid,
            },
            Self::WouldBlock => LockError::WouldBlock,
            Self::Timeout => LockError::Timeout,
            Self::Interrupted => LockError::Interrupted,
            Self::Failed(error) => LockError::Failed(error),
        }
    }

    /// The guard, if the lock was taken: for what can be put right, or does not matter.
    pub fn into_guard(self) -> Option<G> {
        match self {
            Self::OwnerDied { guard, .. } => Some(guard),
            Self::WouldBlock | Self::Timeout | Self::Interrupted | Self::Failed(_) => None,
        }
    }
}

impl<G> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDied { pid, .. } => Error::OwnerDied { pid: *pid }.fmt(f),
            Self::WouldBlock => f.write_str("somebody else holds the lock"),
            Self::Timeout => Error::Timeout.fmt(f),
            Self::Interrupted => Error::Interrupted.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<G: fmt::Debug> std::error::Error for LockError<G> {}

impl<G> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Self {
        match error {
            LockError::OwnerDied { pid, .. } => Self::OwnerDied { pid },
            LockError::WouldBlock | LockError::Timeout => Self::Timeout,
            LockError::Interrupted => Self::Interrupted,
            LockError::Failed(error) => error,
        }
    }
}
