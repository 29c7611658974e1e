//! A condition: a lock, and a line where those wait who need what it protects to become different.

use super::lock::{Lock, LockError, LockGuard};
use super::rlock::{RLock, RLockGuard};
use super::wait_queue::{WaitOutcome, WaitQueue};
use crate::error::{Error, Result};
use crate::heap::internal::insist;
use crate::os::clock::Deadline;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The lock of a condition.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Mutex {
    Lock(Lock),
    RLock(RLock),
}

/// A lock, and a place to wait until what it protects has changed: for processes and threads.
///
/// A handle can be cloned, passed to processes and sent through queues. Whoever holds the lock may wait, which gives it up
/// meanwhile, and notify, which wakes those who wait, first come first served. A notification reaches exactly as many as it
/// was for, of those who waited when it was made: if a process dies that was notified and had not gone on yet, the next one
/// is. Nobody wakes without having been notified.
///
/// ```
/// use procession::{Condition, Process, Queue};
///
/// fn waiter(change: Condition, seen: Queue<u32>) -> procession::Result<()> {
///     change.lock()?.wait_for(|| !seen.is_empty())
/// }
///
/// # #[procession::main]
/// fn main() -> procession::Result<()> {
///     let (change, seen) = (Condition::new()?, Queue::unbounded()?);
///     let other = Process::spawn(waiter, (change.clone(), seen.clone()))?;
///     let guard = change.lock()?;
///     seen.put(1)?;
///     guard.notify_all();
///     drop(guard);
///     other.join()?
/// }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Condition {
    lock: Mutex,
    queue: WaitQueue,
}

impl Condition {
    /// A condition with a lock of its own.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Self::with_lock(&Lock::new()?)
    }

    /// A condition of what `lock` protects; several may share a lock.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_lock(lock: &Lock) -> Result<Self> {
        Ok(Self {
            lock: Mutex::Lock(lock.clone()),
            queue: WaitQueue::new()?,
        })
    }

    /// A condition of what a recursive lock protects; waiting gives it up however often it is locked, and takes it as often.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_rlock(lock: &RLock) -> Result<Self> {
        Ok(Self {
            lock: Mutex::RLock(lock.clone()),
            queue: WaitQueue::new()?,
        })
    }

    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`], with the guard, if the last holder died holding it.
    #[inline]
    pub fn lock(&self) -> Result<ConditionGuard<'_>, LockError<ConditionGuard<'_>>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if nobody living holds it.
    ///
    /// # Errors
    ///
    /// [`LockError::WouldBlock`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<ConditionGuard<'_>, LockError<ConditionGuard<'_>>> {
        self.lock_until(Deadline::Now)
    }

    /// Takes the lock, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`]; [`LockError::OwnerDied`] as for [`lock`](Self::lock).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<ConditionGuard<'_>, LockError<ConditionGuard<'_>>> {
        self.lock_until(Deadline::after(timeout))
    }

    #[inline]
    fn lock_until(&self, deadline: Deadline) -> Result<ConditionGuard<'_>, LockError<ConditionGuard<'_>>> {
        let owner = match &self.lock {
            Mutex::Lock(lock) => lock.try_quick().map(LockGuard::into_owner),
            Mutex::RLock(lock) => lock.try_quick().map(RLockGuard::into_owner),
        };
        match owner {
            Some(owner) => Ok(self.guard_of(owner)),
            None => self.lock_slow(deadline),
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_slow(&self, deadline: Deadline) -> Result<ConditionGuard<'_>, LockError<ConditionGuard<'_>>> {
        match &self.lock {
            Mutex::Lock(lock) => {
                let instead = |guard: LockGuard<'_>| self.guard_of(guard.into_owner());
                lock.lock_until(deadline)
                    .map(instead)
                    .map_err(|error| error.map(instead))
            }
            Mutex::RLock(lock) => {
                let instead = |guard: RLockGuard<'_>| self.guard_of(guard.into_owner());
                lock.lock_until(deadline)
                    .map(instead)
                    .map_err(|error| error.map(instead))
            }
        }
    }

    #[inline]
    fn guard_of(&self, owner: u32) -> ConditionGuard<'_> {
        ConditionGuard {
            condition: self,
            owner,
        }
    }

    /// How many wait; old news at once unless the lock is held.
    pub fn waiting(&self) -> usize {
        self.queue.waiting() as usize
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("lock", &self.lock)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// The lock of a [`Condition`] is held while this lives, but while it waits.
#[must_use = "the lock is released when the guard is dropped"]
#[derive(Debug)]
pub struct ConditionGuard<'c> {
    condition: &'c Condition,
    owner: u32,
}

impl Drop for ConditionGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        match &self.condition.lock {
            Mutex::Lock(lock) => drop(lock.guard_of(self.owner)),
            Mutex::RLock(lock) => drop(lock.guard_of(self.owner)),
        }
    }
}

impl ConditionGuard<'_> {
    /// Gives the lock up, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    ///
    /// In every case the lock is held again. [`Error::OwnerDied`] if it came back from a process that died with it: what it
    /// protects may be half changed; [`Error::Interrupted`] where a hook asks for it; [`Error::OutOfMemory`] where there was
    /// none for a place to wait; [`Error::NotLocked`] for the copy of a guard in a forked child, or another thread's guard of
    /// a recursive lock.
    pub fn wait(&mut self) -> Result<()> {
        self.wait_until(Deadline::Never)
    }

    /// The same, for at most `timeout`, which does not count the time it takes to get the lock back.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if nobody notified it; as for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until `predicate` is true, which is asked at once and after every notification, with the lock held.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_for(&mut self, predicate: impl FnMut() -> bool) -> Result<()> {
        self.wait_for_until(predicate, Deadline::Never)
    }

    /// The same, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it is not true then; as for [`wait`](Self::wait).
    pub fn wait_for_timeout(&mut self, predicate: impl FnMut() -> bool, timeout: Duration) -> Result<()> {
        self.wait_for_until(predicate, Deadline::after(timeout))
    }

    fn wait_for_until(&mut self, mut predicate: impl FnMut() -> bool, deadline: Deadline) -> Result<()> {
        while !predicate() {
            match self.wait_until(deadline) {
                Err(Error::Timeout) if predicate() => return Ok(()),
                answer => answer?,
            }
        }
        Ok(())
    }

    fn wait_until(&mut self, deadline: Deadline) -> Result<()> {
        let Condition { lock, queue } = self.condition;
        let is_own = self.owner == queue.me();
        let (call, died) = match lock {
            Mutex::Lock(lock) if is_own => queue.wait(lock, deadline)?,
            Mutex::RLock(lock) if is_own && lock.is_held_by_current_thread() => queue.wait(lock, deadline)?,
            _ => return Err(Error::NotLocked),
        };
        match (died, call) {
            (Some(pid), _) => Err(Error::OwnerDied { pid }),
            (None, WaitOutcome::Notified) => Ok(()),
            (None, WaitOutcome::TimedOut) => Err(Error::Timeout),
            (None, WaitOutcome::Interrupted) => Err(Error::Interrupted),
        }
    }

    /// Wakes the first who waits.
    #[inline]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes the first `n` who wait; how many there were.
    #[inline]
    pub fn notify(&self, n: usize) -> usize {
        if self.condition.queue.waiting() == 0 {
            return 0;
        }
        // It fails only in a process that cannot use what is shared, and where nobody can wait therefore.
        insist(|| self.condition.queue.notify(n as u64)).unwrap_or(0) as usize
    }

    /// Wakes everybody who waits.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }
}
