//! A condition: a lock, and a queue of threads that wait until what the lock protects has changed.

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
/// A handle can be cloned, passed to processes and sent through queues. The holder of the lock may wait, which
/// releases the lock meanwhile, and notify, which wakes waiting threads, first come first served. A notification
/// wakes exactly as many as it was made for, of the threads that were waiting at that moment: if a notified process
/// dies before it goes on, the next thread is notified in its place. No thread wakes without a notification.
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
    /// Makes a condition with a lock of its own.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Self::with_lock(&Lock::new()?)
    }

    /// Makes a condition for what `lock` protects. Several conditions may share a lock.
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

    /// Makes a condition for what a recursive lock protects. Waiting releases the lock, however often it is locked,
    /// and then takes it as often.
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

    /// Takes the lock if no living process holds it.
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

    /// Makes a guard for the process of this owner id, which holds the lock.
    #[inline]
    fn guard_of(&self, owner: u32) -> ConditionGuard<'_> {
        ConditionGuard {
            condition: self,
            owner,
        }
    }

    /// Returns the number of waiting threads. Unless the lock is held, it may be out of date when you read it.
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

/// Holds the lock of a [`Condition`] until it is dropped, except while it waits.
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
    /// Releases the lock, waits to be notified, and takes the lock again.
    ///
    /// # Errors
    ///
    /// In every case the lock is held again.
    ///
    /// * [`Error::OwnerDied`] if a process died with the lock meanwhile: what it protects may be half changed.
    /// * [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) asks for it.
    /// * [`Error::OutOfMemory`] if there is no memory for a record of the waiting thread.
    /// * [`Error::NotLocked`] for the copy of a guard in a forked child, or another thread's guard of a recursive lock.
    pub fn wait(&mut self) -> Result<()> {
        self.wait_until(Deadline::Never)
    }

    /// Waits as [`wait`](Self::wait) does, for at most `timeout`. The time that it takes to get the lock back comes
    /// on top.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it was not notified in time; as for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until `predicate` returns true. It is called first and then after every notification, with the lock held.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_for(&mut self, predicate: impl FnMut() -> bool) -> Result<()> {
        self.wait_for_until(predicate, Deadline::Never)
    }

    /// Waits as [`wait_for`](Self::wait_for) does, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if `predicate` still returns false then; as for [`wait`](Self::wait).
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

    /// Wakes the thread that has waited longest, if there is one.
    #[inline]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes the `n` threads that have waited longest, and returns how many there were to wake.
    #[inline]
    pub fn notify(&self, n: usize) -> usize {
        if self.condition.queue.waiting() == 0 {
            return 0;
        }
        // This fails only in a process that cannot use shared memory at all.
        insist(|| self.condition.queue.notify(n as u64)).unwrap_or(0) as usize
    }

    /// Wakes all waiting threads.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }
}
