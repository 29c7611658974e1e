//! The engine's own locks, and how a thread waits for one.
//!
//! They are held for well under a microsecond, or for as long as the system needs to make some pages. A wait that
//! takes longer has one of three reasons:
//!
//! | the owner | the wait |
//! | --- | --- |
//! | is dead | ends: the lock is taken over |
//! | has lost its processor for a moment | goes on |
//! | is stopped, perhaps for hours | ends with [`Error::OwnerStopped`], which names the owner |
//!
//! A process is stopped by a signal, by a debugger, or with its container. The wait for a stopped owner ends when the
//! caller's [`Limit`] is reached, or after a second where the caller has none. Nothing has been changed then. The
//! order in which these locks are taken is in `rank.rs`.
//!
//! A process without an entry of its own (see `members/fork.rs`) has no owner id: it gets [`Error::NoIdentity`] here,
//! before it can touch anything shared.

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

/// How long to sleep before checking whether the owner lives and runs.
/// (Shorter in unit tests, as [`BACKSTOP`](crate::wait::BACKSTOP) is.)
const SLICE: u64 = if cfg!(test) { 1_000_000 } else { 20_000_000 };

/// Releases one of the engine's own locks, which was taken with this rank.
#[inline]
pub(crate) fn unlock_internal(lock: &RobustLock, rank: Rank) {
    lock.unlock_short();
    rank.leave();
}

impl Heap {
    /// Takes one of the engine's own locks. Returns whether its owner died holding it, so that the caller must
    /// repair what the lock protects.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`]; [`Error::OwnerStopped`]; [`Error::Interrupted`] and [`Error::Busy`], depending on the
    /// limit.
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

    /// Takes a lock as [`lock_internal`](Self::lock_internal) does, as the first one of a user's call: the wait
    /// ends at the call's deadline, or when the hook for interrupts says so.
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

    /// Takes one of the engine's own locks if it is free at this moment.
    pub(in crate::heap) fn try_internal(&self, lock: &RobustLock, rank: Rank) -> bool {
        let me = self.me();
        let taken = me != 0 && lock.try_quick(me);
        if taken {
            rank.enter();
        }
        taken
    }

    /// Waits for one of the engine's own locks under `limit`.
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
                // The hook may use shared objects: this lock is not held yet.
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

    /// Returns whether a transaction would have to sleep now (or fail, for a caller that must not sleep): another
    /// one is going on.
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
