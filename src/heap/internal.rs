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
//! The order, for threads that need several; who holds one takes only what stands below it ([`Rank`]):
//!
//! 1. the lock of whoever clears up after the dead (`sweep`);
//! 2. the locks of objects: a ring's ends, a semaphore's;
//! 3. the lock of whoever makes a slab (`grow`);
//! 4. the guard that keeps this process from forking (`fork::steady`), and under it the table of what its handles share;
//! 5. the lock of transactions.
//!
//! So memory is made (which may mean clearing up after the dead, to get some) by who holds none of them, and given back by
//! who holds at most the first three; the guard is held around the transactions that change what this process holds and the
//! making of the handle that goes with it, and around nothing that takes longer. Debug builds check all this.

use super::Heap;
use crate::error::{Error, Result};
use crate::os::clock::{Deadline, now};
use crate::os::pid::Activity;
use crate::wait::interrupt::interrupted;
use crate::wait::robust_lock::{Acquired, RobustLock};
use crate::wait::spin;
use std::cell::Cell;

/// Where a lock stands in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Sweep,
    Object,
    Grow,
    Steady,
    Transaction,
}

#[cfg(debug_assertions)]
thread_local! {
    /// A bit for each rank that this thread holds a lock of.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

impl Rank {
    /// Notes that this thread takes a lock of this rank.
    ///
    /// # Panics
    ///
    /// In debug builds, where the thread holds one that stands no higher in the order.
    #[inline]
    pub(super) fn enter(self) {
        #[cfg(debug_assertions)]
        {
            let held = HELD.get();
            assert!(
                held >> self as u32 == 0,
                "a lock of rank {self:?} is taken under others ({held:05b})"
            );
            HELD.set(held | 1 << self as u32);
        }
    }

    /// Notes that it is released.
    #[inline]
    pub(crate) fn leave(self) {
        #[cfg(debug_assertions)]
        HELD.set(HELD.get() & !(1 << self as u32));
    }

    /// Checks, in debug builds, that this thread holds no lock of this rank or below it.
    #[inline]
    pub(super) fn is_not_reached(self) {
        #[cfg(debug_assertions)]
        assert!(
            HELD.get() >> self as u32 == 0,
            "something is done under locks of rank {self:?} or below that takes too long ({:05b})",
            HELD.get()
        );
    }
}

/// Something follows that takes long and is done under no lock that others wait for: pages are made or given back.
pub(super) fn before_paging() {
    Rank::Steady.is_not_reached();
    #[cfg(all(test, not(loom)))]
    paging::happens();
}

/// Lets tests do something while this thread makes pages or gives them back.
#[cfg(all(test, not(loom)))]
pub(crate) mod paging {
    use std::cell::RefCell;
    use std::rc::Rc;

    thread_local! {
        static HOOK: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
    }

    /// Has `hook` called whenever this thread does, until this is called again.
    pub(crate) fn set_hook(hook: Option<Rc<dyn Fn()>>) {
        HOOK.set(hook);
    }

    pub(super) fn happens() {
        let hook = HOOK.with_borrow(Clone::clone);
        if let Some(hook) = hook {
            hook();
        }
    }
}

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

/// Whether this thread may sleep over somebody else's locks.
pub(super) fn may_sleep() -> bool {
    MODE.get() & AWAKE == 0
}

/// Notes that this thread has something to tell when it may sleep: see [`watch`](super::registration).
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
    pub(super) fn try_internal(&self, lock: &RobustLock, rank: Rank) -> bool {
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
        if MODE.get() & AWAKE != 0 {
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
        let mut seen = OwnerActivity { began, idle: None };
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

/// What a waiter has seen of the owner.
struct OwnerActivity {
    began: u64,
    /// The owner that was seen to do nothing, and since when it has been seen so.
    idle: Option<(u32, u64)>,
}

impl OwnerActivity {
    /// Whether the wait for `owner` is to end: it does not run, and the caller's time is up or it has been so for long.
    fn is_idle(&mut self, heap: &Heap, owner: u32, late: bool) -> bool {
        let now = now();
        if owner == 0 || owner == heap.me() {
            self.idle = None;
            return false;
        }
        let timeout = if late { MOMENT } else { IDLE };
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
                now - since >= timeout
            }
        }
    }
}
