//! The engine's own locks: how they are waited for, and in which order they are taken.
//!
//! They are held for well under a microsecond, or for as long as the system needs to make some pages. So whoever waits for
//! one longer than that waits for a process that is dead (then its lock is taken over), that has lost its processor for a
//! moment (then the wait goes on), or that does not run: it was stopped by a signal, by a debugger, with its container. It
//! may stay so for hours. Such a wait ends with [`Error::OwnerStopped`], which names the owner, when the caller's [`Limit`] is
//! reached, and after [`IDLE`] where the caller has none. Nothing has been changed then.
//!
//! A process without an entry of its own (see `fork.rs`) has no id with which to own anything: it gets
//! [`Error::NoIdentity`] here, before it can touch what is shared.

use super::heap::Heap;
use super::limit::{CURRENT, Limit, may_sleep};
use super::owner_activity::{MOMENT, OwnerActivity};
use crate::error::{Error, Result};
use crate::os::clock::{Deadline, now};
use crate::wait::interrupt::interrupted;
use crate::wait::robust_lock::{Acquired, RobustLock};
use crate::wait::spin;
use std::cell::Cell;

// At their old paths, for the rooms below.
pub(crate) use super::limit::{awake, insist, until};
#[cfg(all(test, not(loom)))]
pub(crate) use super::paging::hook as paging;
pub(crate) use super::rank::Rank;

/// How long to sleep before asking whether the owner lives and runs.
/// (As with [`BACKSTOP`](crate::wait::BACKSTOP), unit tests do not wait so long.)
const SLICE: u64 = if cfg!(test) { 1_000_000 } else { 20_000_000 };

/// Releases one of the engine's own locks, which was taken with this rank.
#[inline]
pub(crate) fn unlock_internal(lock: &RobustLock, rank: Rank) {
    lock.unlock_short();
    rank.leave();
}

impl Heap {
    /// Takes one of the engine's own locks; whether its owner died holding it, so that what it protects must be repaired.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`]; [`Error::OwnerStopped`]; [`Error::Interrupted`] and [`Error::Busy`] where the limit says so.
    #[inline]
    pub(crate) fn lock_internal(&self, lock: &RobustLock, rank: Rank) -> Result<bool> {
        let me = self.me();
        rank.enter();
        if me != 0 && lock.try_quick(me) {
            return Ok(false);
        }
        self.lock_internal_slow(lock, rank, me, CURRENT.get())
            .inspect_err(|_| rank.leave())
    }

    /// The same as the first lock of a user's call: a wait for it ends at the call's deadline and where the hook for interrupts
    /// says so.
    ///
    /// # Errors
    ///
    /// As for [`lock_internal`](Self::lock_internal).
    #[inline]
    pub(crate) fn lock_internal_until(
        &self,
        lock: &RobustLock,
        rank: Rank,
        deadline: Deadline,
    ) -> Result<bool> {
        let me = self.me();
        rank.enter();
        if me != 0 && lock.try_quick(me) {
            return Ok(false);
        }
        let limit = Limit {
            deadline,
            interruptible: true,
        };
        self.lock_internal_slow(lock, rank, me, limit)
            .inspect_err(|_| rank.leave())
    }

    /// Takes one of the engine's own locks if it is free this moment.
    pub(in crate::heap) fn try_internal(&self, lock: &RobustLock, rank: Rank) -> bool {
        let me = self.me();
        let taken = me != 0 && lock.try_quick(me);
        if taken {
            rank.enter();
        }
        taken
    }

    #[cold]
    #[inline(never)]
    fn lock_internal_slow(&self, lock: &RobustLock, rank: Rank, me: u32, limit: Limit) -> Result<bool> {
        if me == 0 {
            return Err(Error::NoIdentity);
        }
        if !may_sleep() {
            return self.lock_awake(lock, me);
        }
        let began = now();
        let end = match limit.deadline {
            Deadline::Never => u64::MAX,
            deadline => deadline.within(u64::MAX).max(began + MOMENT),
        };
        let alive = |id| self.alive(id);
        let ended = Cell::new(false);
        let give_up = || {
            if limit.interruptible {
                // The hook may use what is shared: nothing is held yet.
                rank.leave();
                ended.set(interrupted());
                rank.enter();
            }
            ended.get()
        };
        let mut seen = OwnerActivity::new(began);
        loop {
            let moment = now();
            let slice = (moment + SLICE).min(end.max(moment + MOMENT));
            match lock.lock(me, Deadline::At(slice), SLICE, alive, give_up, || ()) {
                Some(locked) => return Ok(matches!(locked, Acquired::OwnerDied(_))),
                None if ended.get() => return Err(Error::Interrupted),
                None => {}
            }
            let owner = lock.living_owner();
            if seen.is_idle(self, owner, now() >= end) {
                return Err(Error::OwnerStopped {
                    pid: self.pid_of(owner),
                    name: self.name_of(owner),
                });
            }
        }
    }

    /// Whether a transaction would sleep now, or not be had by a caller that must not: somebody is in the middle of one.
    #[inline]
    pub(crate) fn is_busy(&self) -> bool {
        let lock = &self.header().tx_lock;
        lock.owner() != 0 && !spin::until(|| lock.owner() == 0)
    }

    /// Takes a lock for a caller that must not sleep.
    fn lock_awake(&self, lock: &RobustLock, me: u32) -> Result<bool> {
        if spin::until(|| lock.try_quick(me)) {
            return Ok(false);
        }
        let alive = |id| self.alive(id);
        match lock.lock(me, Deadline::Now, SLICE, alive, || false, || ()) {
            Some(locked) => Ok(matches!(locked, Acquired::OwnerDied(_))),
            None => Err(Error::Busy),
        }
    }
}
