//! The robust lock: a lock in shared memory that survives the death of its owner.
//!
//! It is one word. Zero: free. Otherwise it holds the owner's id (30 bits), [`SLEEPERS`] and [`STARVING`]. An owner
//! that dies leaves its id in the word. A waiter checks now and then whether the owner lives, takes the lock over if
//! not, and gets [`Acquired::OwnerDied`]: it must repair what the lock protects. [`OWNER_DEAD`] marks a lock whose
//! owner's death is known.
//!
//! A thread that comes at the right moment takes a released lock while the one that was woken for it is still on its
//! way. That is quick, and unfair. So a waiter of a user's lock that has waited too long marks the lock as
//! [`STARVING`]. When such a lock is released it is *handed over*: to threads that have slept, in the order in which
//! they went to sleep.
//!
//! README.md in this folder lists the steps, and what a death after each of them leaves.
//!
//! Pairs: the `Release` of [`RobustLock::unlock`] with the `Acquire` of the exchange that takes the lock next.

use super::atomic::{AtomicU32, Ordering};
use super::sleeper::Sleeper;
use super::spin;
use crate::os::clock::{self, Deadline};
use crate::os::futex::Wake;

/// A thread may sleep on the word.
const SLEEPERS: u32 = 1 << 31;
/// A thread has waited too long. Without an owner: only threads that have slept may take the lock.
const STARVING: u32 = 1 << 30;
const MARKS: u32 = SLEEPERS | STARVING;
/// The number of bits of an owner's id.
pub(crate) const OWNER_BITS: u32 = 30;
/// The owner is known to be dead. No process has this id.
pub(crate) const OWNER_DEAD: u32 = (1 << OWNER_BITS) - 1;

/// How a thread waits for a lock.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// For a lock that is held for a moment only. After each sleep of this many nanoseconds the waiter checks whether
    /// the owner lives.
    Short(u64),
    /// For a lock that is held for as long as its user likes.
    Fair {
        /// A thread that has waited for this many nanoseconds marks the lock as starving.
        starves_after: u64,
        /// A thread that gets a starving lock within this many nanoseconds removes the mark: the queue is short
        /// again.
        content: u64,
    },
}

impl Manner {
    /// The manner of waiting for a user's lock. Some thousand sections fit into `starves_after`, and processes that
    /// merely take turns never reach it. Handing over costs a switch of processes each time, so it ends as soon as no
    /// thread waits long.
    pub(crate) const USERS: Self = Self::Fair {
        starves_after: 30_000_000,
        content: 1_000_000,
    };
}

/// A lock word in shared memory. All zero is a free lock.
#[repr(transparent)]
pub(crate) struct RobustLock(AtomicU32);

/// How a lock was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Acquired {
    /// The previous owner released it.
    Clean,
    /// The previous owner died holding it (its id, or [`OWNER_DEAD`]).
    OwnerDied(u32),
}

impl RobustLock {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Makes a lock that `owner` holds.
    #[cfg(loom)]
    pub(crate) fn held(owner: u32) -> Self {
        Self(AtomicU32::new(owner))
    }

    /// Makes a lock that `owner` holds, with the marks of a thread that no longer exists.
    #[cfg(loom)]
    pub(crate) fn starving(owner: u32) -> Self {
        Self(AtomicU32::new(owner | MARKS))
    }

    /// Takes the lock for `me`. Returns `None` at the deadline, or where `give_up` returns true, which is called
    /// after every sleep. `slice` is how long to sleep before `alive` is asked about the owner. `announce` is called
    /// before the first sleep; its result is dropped at the end of the wait.
    #[inline]
    pub(crate) fn lock<A>(
        &self,
        me: u32,
        deadline: Deadline,
        slice: u64,
        alive: impl Fn(u32) -> bool,
        give_up: impl Fn() -> bool,
        announce: impl Fn() -> A,
    ) -> Option<Acquired> {
        self.lock_as(Manner::Short(slice), me, deadline, alive, give_up, announce)
    }

    /// Takes the lock like [`lock`](Self::lock), waiting in the given [`Manner`].
    #[inline]
    pub(crate) fn lock_as<A>(
        &self,
        manner: Manner,
        me: u32,
        deadline: Deadline,
        alive: impl Fn(u32) -> bool,
        give_up: impl Fn() -> bool,
        announce: impl Fn() -> A,
    ) -> Option<Acquired> {
        if self
            .0
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            return Some(Acquired::Clean);
        }
        self.lock_slow(manner, me, deadline, alive, give_up, announce)
    }

    /// Takes the lock if it is free at this moment: without waiting, without a system call, and without checking
    /// whether its owner lives.
    #[inline]
    pub(crate) fn try_quick(&self, me: u32) -> bool {
        self.0.load(Ordering::Relaxed) == 0
            && self
                .0
                .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    #[cold]
    fn lock_slow<A>(
        &self,
        manner: Manner,
        me: u32,
        deadline: Deadline,
        alive: impl Fn(u32) -> bool,
        give_up: impl Fn() -> bool,
        announce: impl Fn() -> A,
    ) -> Option<Acquired> {
        if deadline == Deadline::Now {
            return self
                .take_if_free(me, MARKS)
                .or_else(|| self.take_if_dead(me, &alive));
        }
        if let Some(locked) = self.take_spinning(me) {
            return Some(locked);
        }
        let mut wait = Wait::new(manner);
        let mut announced = None;
        loop {
            let asleep = announced.is_some();
            if let Some(locked) = self.take_in_turn(me, &wait, asleep) {
                return Some(locked);
            }
            if asleep && give_up() {
                self.leave();
                return None;
            }
            let Some(word) = self.mark(&wait, asleep) else {
                continue;
            };
            announced.get_or_insert_with(&announce);
            if wait.sleep(&self.0, word, deadline) != Wake::TimedOut {
                continue;
            }
            if let Some(locked) = self.take_if_dead(me | SLEEPERS, &alive) {
                return Some(locked);
            }
            if deadline.passed() {
                let taken = self.take_in_turn(me, &wait, true);
                if taken.is_none() {
                    self.leave();
                }
                return taken;
            }
        }
    }

    /// Spins for a few microseconds, unless the lock is handed over to sleepers: then spinning is useless.
    fn take_spinning(&self, me: u32) -> Option<Acquired> {
        let mut taken = None;
        let starving = || self.0.load(Ordering::Relaxed) & STARVING != 0;
        if !starving() {
            spin::until(|| {
                taken = self.take_if_free(me, SLEEPERS);
                taken.is_some() || starving()
            });
        }
        taken
    }

    /// Takes the lock if it is free, or if it is handed over and this thread was `asleep` before.
    fn take_in_turn(&self, me: u32, wait: &Wait, asleep: bool) -> Option<Acquired> {
        if !asleep {
            return self.take_if_free(me, SLEEPERS);
        }
        // Once asleep, this thread no longer knows whether others sleep: `SLEEPERS` stays. `STARVING` stays while
        // threads wait long.
        let keep = if wait.is_content() { SLEEPERS } else { MARKS };
        let word = self.0.load(Ordering::Relaxed);
        self.take_from(word, me | SLEEPERS | (word & keep))
    }

    /// Marks the word: a thread sleeps on it, and perhaps starves. Returns the marked word, to sleep on; `None` if
    /// the lock has become free, or the word changed meanwhile.
    fn mark(&self, wait: &Wait, asleep: bool) -> Option<u32> {
        let word = self.0.load(Ordering::Relaxed);
        let free = match word & !MARKS {
            // Handed over, but not to newcomers: until it is taken they sleep, like all others.
            0 => asleep || word & STARVING == 0,
            owner => owner == OWNER_DEAD,
        };
        if free {
            return None;
        }
        let starving = if asleep && wait.is_starving() { STARVING } else { 0 };
        let marked = word | SLEEPERS | starving;
        (word == marked
            || self
                .0
                .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok())
        .then_some(marked)
    }

    /// Leaves the queue. This thread may have been woken in place of another, so it does not let the wake-up get
    /// lost.
    fn leave(&self) {
        if self.0.fetch_or(SLEEPERS, Ordering::AcqRel) & !MARKS == 0 {
            self.wake_one();
        }
    }

    /// Wakes one sleeper of a lock that is free or whose owner is dead. If none sleeps, the lock is handed over to no
    /// thread and becomes free.
    fn wake_one(&self) {
        let nobody = self.0.futex_wake(1) == 0;
        let word = self.0.load(Ordering::Relaxed);
        if nobody
            && word != 0
            && word & !MARKS == 0
            && self
                .0
                .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            // A thread may have gone to sleep on the word in between.
            self.0.futex_wake(1);
        }
    }

    /// Takes a free lock, or one of a process known to be dead; a lock that is handed over only if `marks` contains
    /// [`STARVING`]. The marks in the word stay.
    fn take_if_free(&self, me: u32, marks: u32) -> Option<Acquired> {
        let word = self.0.load(Ordering::Relaxed);
        if word & !MARKS == 0 && word & STARVING & !marks != 0 {
            return None;
        }
        self.take_from(word, me | (word & MARKS))
    }

    /// Changes `word` to `mine` if it is free or its owner is dead.
    fn take_from(&self, word: u32, mine: u32) -> Option<Acquired> {
        let locked = match word & !MARKS {
            0 => Acquired::Clean,
            OWNER_DEAD => Acquired::OwnerDied(OWNER_DEAD),
            _ => return None,
        };
        self.0
            .compare_exchange(word, mine, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| locked)
    }

    fn take_if_dead(&self, me: u32, alive: impl Fn(u32) -> bool) -> Option<Acquired> {
        let word = self.0.load(Ordering::Relaxed);
        let owner = word & !MARKS;
        if owner == 0 || owner == OWNER_DEAD || alive(owner) {
            return None;
        }
        self.0
            .compare_exchange(word, me | (word & MARKS), Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Acquired::OwnerDied(owner))
    }

    /// Releases the lock, and wakes one sleeper. It takes one exchange where `me` holds the lock and there is no
    /// mark. Returns false if the lock was not held.
    #[inline]
    pub(crate) fn unlock_mine(&self, me: u32) -> bool {
        let quick = self
            .0
            .compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed);
        quick.is_ok() || self.unlock_slow()
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) -> bool {
        self.unlock()
    }

    /// Releases a lock that no thread waits for [fairly](Manner::Fair), and wakes one sleeper.
    #[inline]
    pub(crate) fn unlock_short(&self) {
        if self.0.swap(0, Ordering::AcqRel) & SLEEPERS != 0 {
            self.0.futex_wake(1);
        }
    }

    /// Releases the lock, whichever process holds it, and wakes one sleeper. Returns false if it was not held.
    #[inline]
    pub(crate) fn unlock(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & !MARKS == 0 {
                return false;
            }
            let next = if word & STARVING == 0 { 0 } else { MARKS };
            match self
                .0
                .compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                // A waiter has set a mark.
                Err(now) => word = now,
            }
        }
        if word & SLEEPERS != 0 {
            self.wake_one();
        }
        true
    }

    /// Marks a lock that `dead` holds, and wakes a sleeper, which takes it over at once. Returns whether `dead` held
    /// it.
    pub(crate) fn mark_owner_dead(&self, dead: u32) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        // A waiter may set its mark at any moment.
        while word & !MARKS == dead {
            let owner_dead = OWNER_DEAD | SLEEPERS | (word & STARVING);
            match self
                .0
                .compare_exchange(word, owner_dead, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.0.futex_wake(1);
                    return true;
                }
                Err(now) => word = now,
            }
        }
        // It may have been handed over to the dead process, or that process may have been woken to take it.
        if word != 0 && word & !MARKS == 0 {
            self.wake_one();
        }
        false
    }

    /// Returns the owner like [`owner`](Self::owner), but 0 in place of [`OWNER_DEAD`].
    pub(crate) fn living_owner(&self) -> u32 {
        match self.owner() {
            OWNER_DEAD => 0,
            owner => owner,
        }
    }

    /// Returns the id of the owner (perhaps [`OWNER_DEAD`]), or 0. The value may be stale when the caller reads it.
    pub(crate) fn owner(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & !MARKS
    }
}

/// One wait for a lock.
struct Wait {
    manner: Manner,
    /// When the thread first went to sleep.
    since: u64,
    sleeper: Sleeper,
}

impl Wait {
    fn new(manner: Manner) -> Self {
        Self {
            manner,
            since: 0,
            sleeper: Sleeper::new(),
        }
    }

    /// Returns for how long the thread has waited since its first sleep.
    fn waited(&self) -> u64 {
        clock::now().saturating_sub(self.since)
    }

    fn is_starving(&self) -> bool {
        matches!(self.manner, Manner::Fair { starves_after, .. } if self.waited() >= starves_after)
    }

    fn is_content(&self) -> bool {
        matches!(self.manner, Manner::Fair { content, .. } if self.waited() < content)
    }

    fn sleep(&mut self, word: &AtomicU32, expected: u32, deadline: Deadline) -> Wake {
        match self.manner {
            Manner::Short(slice) => word.futex_wait(expected, deadline.within(slice)),
            Manner::Fair { starves_after, .. } if self.since == 0 => {
                self.since = clock::now();
                word.futex_wait(expected, deadline.within(starves_after))
            }
            Manner::Fair { .. } => self.sleeper.sleep(word, expected, deadline),
        }
    }
}
