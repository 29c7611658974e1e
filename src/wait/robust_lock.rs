//! The latch: a lock in shared memory that outlives its owner.
//!
//! One word. Zero: free. Otherwise the owner's id (30 bits), [`SLEEPERS`] and [`STARVING`]. An owner that dies leaves its id
//! behind; whoever waits looks now and then whether the owner lives, takes the latch over if not, and is told so
//! ([`Acquired::OwnerDied`]): it must repair what the latch protects. [`OWNER_DEAD`] marks a latch whose owner's death is known.
//!
//! Whoever comes at the right moment takes a latch that is released, while the one that was woken for it is still on its
//! way. That is quick, and unfair. So a waiter of a user's lock that has waited for too long marks it as [`STARVING`]:
//! released, it is *handed over* then, to those who have slept, in the order in which they went to sleep.
//!
//! Pairs: the `Release` of [`RobustLock::unlock`] with the `Acquire` of the exchange that takes the latch next.

use super::atomic::{AtomicU32, Ordering};
use super::sleeper::Sleeper;
use super::spin;
use crate::os::clock::{self, Deadline};
use crate::os::futex::Wake;

/// Somebody may sleep on the word.
const SLEEPERS: u32 = 1 << 31;
/// Somebody has waited for too long. Without an owner: only those who have slept may take it.
const STARVING: u32 = 1 << 30;
const MARKS: u32 = SLEEPERS | STARVING;
/// Bits of an owner's id.
pub(crate) const OWNER_BITS: u32 = 30;
/// The owner is known to be dead. No process has this id.
pub(crate) const OWNER_DEAD: u32 = (1 << OWNER_BITS) - 1;

/// How one waits for a latch.
#[derive(Clone, Copy)]
pub(crate) enum Manner {
    /// For one that is held for a moment only: asks after so many nanoseconds of sleep whether the owner lives, and again
    /// and again.
    Short(u64),
    /// For one that is held for as long as its user likes.
    Fair {
        /// Who has waited for so many nanoseconds marks the latch as starving.
        starves_after: u64,
        /// Who gets a starving latch within so many nanoseconds takes the mark away: the line is short again.
        content: u64,
    },
}

impl Manner {
    /// As one waits for a user's lock. Some thousand sections fit into the starves_after, and processes that merely take turns never
    /// run out of it; handing over costs a switch of processes each time, so it ends as soon as nobody waits for long.
    pub(crate) const USERS: Self = Self::Fair {
        starves_after: 30_000_000,
        content: 1_000_000,
    };
}

/// A lock word in shared memory. All zero is a free latch.
#[repr(transparent)]
pub(crate) struct RobustLock(AtomicU32);

/// How a latch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Acquired {
    /// From an owner that released it.
    Clean,
    /// From an owner that died holding it (its id, or [`OWNER_DEAD`]).
    OwnerDied(u32),
}

impl RobustLock {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// One that `owner` holds.
    #[cfg(loom)]
    pub(crate) fn held(owner: u32) -> Self {
        Self(AtomicU32::new(owner))
    }

    /// The same, with marks of somebody who is no longer there.
    #[cfg(loom)]
    pub(crate) fn starving(owner: u32) -> Self {
        Self(AtomicU32::new(owner | MARKS))
    }

    /// Takes the latch for `me`, or `None` at the deadline or where `give_up` says so, which is asked after every sleep.
    /// `slice` is how long to sleep before `alive` is asked about the owner. `announce` is called before the first sleep;
    /// what it gives is dropped at the end of the wait.
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

    /// The same, waiting in one [`Manner`] or the other.
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

    /// Takes the latch if it is free this moment: no waiting, no system call, no question whether its owner lives.
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

    /// Looks for a few microseconds, unless the latch is handed over to those who sleep: then spinning is of no use.
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

    /// Takes the latch if it is free, or handed over and this thread was `asleep` before.
    fn take_in_turn(&self, me: u32, wait: &Wait, asleep: bool) -> Option<Acquired> {
        if !asleep {
            return self.take_if_free(me, SLEEPERS);
        }
        // Once asleep, we no longer know whether others sleep: the mark stays with the latch. The other one stays while there
        // are others who wait for long.
        let keep = if wait.is_content() { SLEEPERS } else { MARKS };
        let word = self.0.load(Ordering::Relaxed);
        self.take_from(word, me | SLEEPERS | (word & keep))
    }

    /// Says on the word that somebody sleeps, and whether it is starving: what it is then, to sleep on; `None` where it has
    /// become free, or changed meanwhile.
    fn mark(&self, wait: &Wait, asleep: bool) -> Option<u32> {
        let word = self.0.load(Ordering::Relaxed);
        let free = match word & !MARKS {
            // Handed over, and not to those who come only now: until it is taken they sleep, like everybody else.
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

    /// A sleeper goes away that may have been woken in place of another: the others are not forgotten.
    fn leave(&self) {
        if self.0.fetch_or(SLEEPERS, Ordering::AcqRel) & !MARKS == 0 {
            self.wake_one();
        }
    }

    /// Wakes one sleeper of a latch that is free or owner_dead. If nobody sleeps there is nobody to hand it over to.
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
            // Somebody may have gone to sleep on the word in between.
            self.0.futex_wake(1);
        }
    }

    /// Takes a free latch, or one of a process known to be dead; one that is handed over only if `marks` has [`STARVING`].
    /// The marks in it stay with it.
    fn take_if_free(&self, me: u32, marks: u32) -> Option<Acquired> {
        let word = self.0.load(Ordering::Relaxed);
        if word & !MARKS == 0 && word & STARVING & !marks != 0 {
            return None;
        }
        self.take_from(word, me | (word & MARKS))
    }

    /// Makes `word` into `mine` if that is free or owner_dead.
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

    /// Releases the latch, and wakes one sleeper; with one exchange where `me` holds it and nobody has put a mark on it. False
    /// if nobody held it.
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

    /// Releases a latch that nobody waits for [fairly](Manner::Fair), and wakes one sleeper.
    #[inline]
    pub(crate) fn unlock_short(&self) {
        if self.0.swap(0, Ordering::AcqRel) & SLEEPERS != 0 {
            self.0.futex_wake(1);
        }
    }

    /// Releases the latch, whoever holds it, and wakes one sleeper. False if nobody held it.
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
                // A waiter has put a mark on it.
                Err(now) => word = now,
            }
        }
        if word & SLEEPERS != 0 {
            self.wake_one();
        }
        true
    }

    /// Marks a latch that `dead` holds as owner_dead and wakes a sleeper, who inherits it at once. Whether `dead` held it.
    pub(crate) fn mark_owner_dead(&self, dead: u32) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        // A waiter may put its mark on the word at any moment.
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
        // It may have been handed over to the dead one, or that one have been woken to take it.
        if word != 0 && word & !MARKS == 0 {
            self.wake_one();
        }
        false
    }

    /// The same without [`OWNER_DEAD`].
    pub(crate) fn living_owner(&self) -> u32 {
        match self.owner() {
            OWNER_DEAD => 0,
            owner => owner,
        }
    }

    /// The id of whoever holds it (perhaps [`OWNER_DEAD`]), or 0. Old news at once.
    pub(crate) fn owner(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & !MARKS
    }
}

/// One wait for a latch.
struct Wait {
    manner: Manner,
    /// When it first went to sleep.
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

    /// How long it has waited since it first slept.
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
