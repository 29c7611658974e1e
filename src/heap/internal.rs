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
//!
//! The order, for threads that need several; who holds one takes only what stands below it:
//!
//! 1. the lock of whoever clears up after the dead (`sweep`);
//! 2. the locks of objects: a ring's ends, a semaphore's;
//! 3. the lock of whoever makes a slab (`grow`);
//! 4. the guard that keeps this process from forking (`fork::steady`);
//! 5. the lock of transactions.

use super::Heap;
use crate::error::{Error, Result};
use crate::os::clock::{Deadline, now};
use crate::os::pid::Activity;
use crate::wait::interrupt::interrupted;
use crate::wait::latch::{Latch, Locked};
use crate::wait::spin;
use std::cell::Cell;

/// How long to sleep before asking whether the owner lives and runs.
/// (As with [`BACKSTOP`](crate::wait::BACKSTOP), unit tests do not wait so long.)
const SLICE: u64 = if cfg!(test) { 1_000_000 } else { 20_000_000 };
/// How long an owner must have done nothing for the wait to end, where no deadline ends it earlier.
const IDLE: u64 = 1_000_000_000;
/// What a call that does not wait grants an owner that is at work; and how long one must be idle to be idle at all.
const MOMENT: u64 = 5_000_000;

/// What ends a wait for one of the engine's own locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The deadline of the call that the wait is part of.
    pub deadline: Deadline,
    /// Whether the hook for interrupts may run meanwhile and end it: not while another lock is held.
    pub interruptible: bool,
}

impl Limit {
    /// A wait that is not part of a call with a deadline.
    pub(crate) const NONE: Self = Self {
        deadline: Deadline::Never,
        interruptible: false,
    };
}

thread_local! {
    static CURRENT: Cell<Limit> = const { Cell::new(Limit::NONE) };
    /// What holds for this thread besides: the bits below.
    static MODE: Cell<u8> = const { Cell::new(0) };
}

/// It must not sleep over a lock; [`Error::Busy`] where it would have to.
const AWAKE: u8 = 1;
/// There is something that it could not tell meanwhile.
const OWES_NEWS: u8 = 2;

/// Runs `work` under `limit`: it holds for all waits for internal locks in it.
#[inline]
pub(crate) fn within<T>(limit: Limit, work: impl FnOnce() -> T) -> T {
    struct Restore(Limit);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(limit));
    work()
}

/// Runs `work` under the limit that holds now, but for its deadline.
#[inline]
pub(crate) fn until<T>(deadline: Deadline, work: impl FnOnce() -> T) -> T {
    let limit = Limit {
        deadline,
        ..CURRENT.get()
    };
    within(limit, work)
}

/// Runs `work` without sleeping over somebody else's locks: it ends with [`Error::Busy`] instead. Also whether something is
/// [left to be told](owe_news).
#[inline]
pub(crate) fn awake<T>(work: impl FnOnce() -> T) -> (T, bool) {
    struct Restore<'m>(&'m Cell<u8>, u8);
    impl Drop for Restore<'_> {
        #[inline]
        fn drop(&mut self) {
            self.0.set(self.0.get() & !AWAKE | self.1);
        }
    }
    // Found once: it is a call in a library that was loaded later.
    MODE.with(|mode| {
        let _restore = Restore(mode, mode.get() & AWAKE);
        mode.set(mode.get() | AWAKE);
        let answer = work();
        (answer, mode.get() & OWES_NEWS != 0)
    })
}

/// Notes that this thread has something to tell when it may sleep: see [`watch`](super::watch).
pub(super) fn owe_news(owes: bool) {
    let others = MODE.get() & !OWES_NEWS;
    MODE.set(others | if owes { OWES_NEWS } else { 0 });
}

/// Repeats `work` for as long as somebody is stopped in the middle of a change: for calls that have no error to answer with.
pub(crate) fn insist<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match work() {
            Err(Error::OwnerStopped { .. }) => {}
            answer => return answer,
        }
    }
}

impl Heap {
    /// Takes one of the engine's own locks; whether its owner died holding it, so that what it protects must be repaired.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`]; [`Error::OwnerStopped`]; [`Error::Interrupted`] and [`Error::Busy`] where the limit says so.
    #[inline]
    pub(crate) fn lock_internal(&self, latch: &Latch) -> Result<bool> {
        let me = self.me();
        if me != 0 && latch.try_quick(me) {
            return Ok(false);
        }
        self.lock_internal_slow(latch, me, CURRENT.get())
    }

    /// The same as the first lock of a user's call: a wait for it ends at the call's deadline and where the hook for interrupts
    /// says so.
    ///
    /// # Errors
    ///
    /// As for [`lock_internal`](Self::lock_internal).
    #[inline]
    pub(crate) fn lock_internal_until(&self, latch: &Latch, deadline: Deadline) -> Result<bool> {
        let me = self.me();
        if me != 0 && latch.try_quick(me) {
            return Ok(false);
        }
        let limit = Limit {
            deadline,
            interruptible: true,
            ..CURRENT.get()
        };
        self.lock_internal_slow(latch, me, limit)
    }

    #[cold]
    #[inline(never)]
    fn lock_internal_slow(&self, latch: &Latch, me: u32, limit: Limit) -> Result<bool> {
        if me == 0 {
            return Err(Error::NoIdentity);
        }
        if MODE.get() & AWAKE != 0 {
            return self.lock_awake(latch, me);
        }
        let began = now();
        let end = match limit.deadline {
            Deadline::Never => u64::MAX,
            deadline => deadline.within(u64::MAX).max(began + MOMENT),
        };
        let alive = |id| self.alive(id);
        let ended = Cell::new(false);
        let give_up = || {
            ended.set(limit.interruptible && interrupted());
            ended.get()
        };
        let mut watch = OwnerWatch { began, idle: None };
        loop {
            let moment = now();
            let slice = (moment + SLICE).min(end.max(moment + MOMENT));
            match latch.lock(me, Deadline::At(slice), SLICE, alive, give_up, || ()) {
                Some(locked) => return Ok(matches!(locked, Locked::Inherited(_))),
                None if ended.get() => return Err(Error::Interrupted),
                None => {}
            }
            let owner = latch.living_owner();
            if watch.is_idle(self, owner, now() >= end) {
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
        let latch = &self.header().latch;
        latch.owner() != 0 && !spin::until(|| latch.owner() == 0)
    }

    /// Takes a lock for a caller that must not sleep.
    fn lock_awake(&self, latch: &Latch, me: u32) -> Result<bool> {
        if spin::until(|| latch.try_quick(me)) {
            return Ok(false);
        }
        let alive = |id| self.alive(id);
        match latch.lock(me, Deadline::Now, SLICE, alive, || false, || ()) {
            Some(locked) => Ok(matches!(locked, Locked::Inherited(_))),
            None => Err(Error::Busy),
        }
    }
}

/// What a waiter has seen of the owner.
struct OwnerWatch {
    began: u64,
    /// The owner that was seen to do nothing, and since when it has been seen so.
    idle: Option<(u32, u64)>,
}

impl OwnerWatch {
    /// Whether the wait for `owner` is to end: it does not run, and the caller's time is up or it has been so for long.
    fn is_idle(&mut self, heap: &Heap, owner: u32, late: bool) -> bool {
        let now = now();
        if owner == 0 || owner == heap.me() {
            self.idle = None;
            return false;
        }
        let patience = if late { MOMENT } else { IDLE };
        match heap.activity(owner) {
            Activity::Running => {
                self.idle = None;
                false
            }
            Activity::Stopped => late || now - self.began >= IDLE,
            // It may have slept and run in between; an owner whose state cannot be seen is treated alike.
            Activity::Idle | Activity::Unknown => {
                let since = match self.idle {
                    Some((known, since)) if known == owner => since,
                    _ => {
                        self.idle = Some((owner, now));
                        now
                    }
                };
                now - since >= patience
            }
        }
    }
}
