//! The latch: a lock in shared memory that outlives its owner.
//!
//! One word. Zero: free. Otherwise the owner's id (31 bits) and [`SLEEPERS`]. An owner that dies leaves its id behind;
//! whoever waits looks at least once a slice whether the owner lives, takes the latch over if not, and is told so
//! ([`Locked::Inherited`]): it must repair what the latch protects. [`ORPHAN`] marks a latch whose owner's death is known.
//!
//! Pairs: the `Release` of [`Latch::unlock`] with the `Acquire` of the exchange that takes the latch next.

use super::atomic::{AtomicU32, Ordering};
use super::spin;
use crate::os::clock::Deadline;
use crate::os::futex::Wake;

/// Somebody may sleep on the word.
const SLEEPERS: u32 = 1 << 31;
/// The owner is known to be dead. No process has this id.
pub(crate) const ORPHAN: u32 = SLEEPERS - 1;

/// A lock word in shared memory. All zero is a free latch.
#[repr(transparent)]
pub(crate) struct Latch(AtomicU32);

/// How a latch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Locked {
    /// From an owner that released it.
    Clean,
    /// From an owner that died holding it (its id, or [`ORPHAN`]).
    Inherited(u32),
}

impl Latch {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
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
    ) -> Option<Locked> {
        if self
            .0
            .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            return Some(Locked::Clean);
        }
        self.lock_slow(me, deadline, slice, alive, give_up, announce)
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
        me: u32,
        deadline: Deadline,
        slice: u64,
        alive: impl Fn(u32) -> bool,
        give_up: impl Fn() -> bool,
        announce: impl Fn() -> A,
    ) -> Option<Locked> {
        if deadline != Deadline::Now {
            let mut taken = None;
            spin::until(|| {
                taken = self.take_if_free(me);
                taken.is_some()
            });
            if taken.is_some() {
                return taken;
            }
        }
        let mut announced = None;
        loop {
            // Once asleep, we no longer know whether others sleep: the mark stays with the latch.
            if let Some(locked) = self.take_if_free(me | SLEEPERS) {
                return Some(locked);
            }
            if announced.is_some() && give_up() {
                self.leave();
                return None;
            }
            let word = self.0.load(Ordering::Relaxed);
            if word & !SLEEPERS == 0 || word & !SLEEPERS == ORPHAN {
                continue;
            }
            if deadline != Deadline::Now {
                let marked = word | SLEEPERS;
                if word != marked
                    && self
                        .0
                        .compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed)
                        .is_err()
                {
                    continue;
                }
                announced.get_or_insert_with(&announce);
                if self.0.futex_wait(marked, deadline.within(slice)) != Wake::TimedOut {
                    continue;
                }
            }
            if let Some(locked) = self.take_if_dead(me | SLEEPERS, &alive) {
                return Some(locked);
            }
            if deadline.passed() {
                return self.take_if_free(me | SLEEPERS);
            }
        }
    }

    /// A sleeper goes away that may have been woken in place of another: the others are not forgotten.
    fn leave(&self) {
        if self.0.fetch_or(SLEEPERS, Ordering::AcqRel) & !SLEEPERS == 0 {
            self.0.futex_wake(1);
        }
    }

    fn take_if_free(&self, me: u32) -> Option<Locked> {
        let word = self.0.load(Ordering::Relaxed);
        let locked = match word & !SLEEPERS {
            0 => Locked::Clean,
            ORPHAN => Locked::Inherited(ORPHAN),
            _ => return None,
        };
        let mine = me | (word & SLEEPERS);
        self.0
            .compare_exchange(word, mine, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| locked)
    }

    fn take_if_dead(&self, me: u32, alive: impl Fn(u32) -> bool) -> Option<Locked> {
        let word = self.0.load(Ordering::Relaxed);
        let owner = word & !SLEEPERS;
        if owner == 0 || owner == ORPHAN || alive(owner) {
            return None;
        }
        self.0
            .compare_exchange(word, me, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Locked::Inherited(owner))
    }

    /// Releases the latch, whoever holds it, and wakes one sleeper. False if nobody held it.
    #[inline]
    pub(crate) fn unlock(&self) -> bool {
        let word = self.0.swap(0, Ordering::AcqRel);
        if word & SLEEPERS != 0 {
            self.0.futex_wake(1);
        }
        word & !SLEEPERS != 0
    }

    /// Marks a latch that `dead` holds as orphaned and wakes a sleeper, who inherits it at once. Whether `dead` held it.
    pub(crate) fn orphan(&self, dead: u32) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        // A waiter may put its mark on the word at any moment.
        while word & !SLEEPERS == dead {
            match self
                .0
                .compare_exchange(word, ORPHAN | SLEEPERS, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.0.futex_wake(1);
                    return true;
                }
                Err(now) => word = now,
            }
        }
        false
    }

    /// The same without [`ORPHAN`].
    pub(crate) fn living_owner(&self) -> u32 {
        match self.owner() {
            ORPHAN => 0,
            owner => owner,
        }
    }

    /// The id of whoever holds it (perhaps [`ORPHAN`]), or 0. Old news at once.
    pub(crate) fn owner(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & !SLEEPERS
    }
}
