//! The gate: where somebody sleeps until something may have changed.
//!
//! One word: [`WAITERS`] in bit 0, [`REGISTERED`] in bit 1, above them an epoch that moves with every notification. A sleeper
//! arms the gate, looks once more at what it waits for, and sleeps only if the word is still what it armed. A notifier
//! that finds neither mark makes no system call, which is the common case.
//!
//! A watcher sleeps elsewhere (it waits for several things at once) and wants to be told: it marks the gate as watched,
//! and looks once more. The notifier that takes the mark away tells it.
//!
//! Notifying disarms, so a burst of notifications makes one system call; the sleeper that was woken passes it on
//! ([`EventCount::pass_baton`]) once it has what it came for. There is no count of sleepers that a death could falsify.

use super::atomic::{AtomicU32, Ordering, fence_after_rmw};
use super::interrupt::interrupted;
use super::sleeper::Sleeper;
use super::spin;
use crate::os::clock::Deadline;
use crate::os::futex::Wake;

/// Somebody may sleep here.
const WAITERS: u32 = 1;
/// Somebody who sleeps elsewhere wants to be told.
const REGISTERED: u32 = 2;
const EPOCH: u32 = 4;

/// A sleeping place in shared memory. All zero is a gate nobody sleeps at.
#[repr(transparent)]
pub(crate) struct EventCount(AtomicU32);

/// The word a sleeper armed; it sleeps only while the gate still shows it.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u32);

impl EventCount {
    /// A gate in a process's own memory, for its threads.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Announces a sleeper. What it waits for must be looked at again between this and [`sleep`](Self::sleep).
    pub(crate) fn prepare_wait(&self) -> Epoch {
        let before = self.0.fetch_or(WAITERS, Ordering::SeqCst);
        fence_after_rmw();
        Epoch(before | WAITERS)
    }

    /// Sleeps until a notification after `epoch` was drawn, the deadline, a signal handler, or until the `sleeper` wants to
    /// see for itself: look again.
    pub(crate) fn sleep(&self, epoch: Epoch, deadline: Deadline, sleeper: &mut Sleeper) -> Wake {
        sleeper.sleep(&self.0, epoch.0, deadline)
    }

    /// Announces a watcher. What it watches must be looked at again behind this.
    pub(crate) fn mark_registered(&self) {
        self.0.fetch_or(REGISTERED, Ordering::SeqCst);
        fence_after_rmw();
    }

    /// Wakes one sleeper, if there may be one. Call it behind a read-modify-write that follows the change.
    #[inline]
    pub(crate) fn notify_one(&self) {
        self.notify_one_and(|| {});
    }

    /// The same where there may be watchers: `tell` is called if there are, and must tell all of them.
    #[inline]
    pub(crate) fn notify_one_and(&self, tell: impl FnOnce()) {
        self.notify(1, tell);
    }

    /// Wakes every sleeper, if there may be one; otherwise as [`notify_one`](Self::notify_one).
    #[inline]
    pub(crate) fn notify_all(&self) {
        self.notify_all_and(|| {});
    }

    /// The same where there may be watchers.
    #[inline]
    pub(crate) fn notify_all_and(&self, tell: impl FnOnce()) {
        self.notify(u32::MAX, tell);
    }

    #[inline]
    fn notify(&self, count: u32, tell: impl FnOnce()) {
        fence_after_rmw();
        if self.0.load(Ordering::Relaxed) & (WAITERS | REGISTERED) != 0 {
            let marks = self.clear(WAITERS | REGISTERED);
            if marks & WAITERS != 0 {
                self.wake(count);
            }
            if marks & REGISTERED != 0 {
                tell();
            }
        }
    }

    /// Wakes every sleeper, whether or not there may be one. Watchers have to be told besides.
    pub(crate) fn wake_unconditionally(&self) {
        self.clear(WAITERS);
        self.wake(u32::MAX);
    }

    /// The half of a notification that changes the word; whether the other half, [`wake`](Self::wake), is due. For those
    /// who must not make a system call yet.
    pub(crate) fn take_waiters(&self) -> bool {
        fence_after_rmw();
        self.0.load(Ordering::Relaxed) & WAITERS != 0 && self.clear(WAITERS) & WAITERS != 0
    }

    /// Wakes sleepers of a gate that was disarmed.
    pub(crate) fn wake(&self, count: u32) {
        self.0.futex_wake(count);
    }

    /// Begins a new epoch without `marks`; those that there were.
    #[cold]
    fn clear(&self, marks: u32) -> u32 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let next = word.wrapping_add(EPOCH) & !marks;
            match self
                .0
                .compare_exchange(word, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return word & marks,
                Err(now) => word = now,
            }
        }
    }

    /// For a sleeper that got what it came for: arms the gate for those who may still sleep, and wakes one of them at
    /// once when there is `more` for them.
    pub(crate) fn pass_baton(&self, more: impl FnOnce() -> bool) {
        self.0.fetch_or(WAITERS, Ordering::SeqCst);
        fence_after_rmw();
        if more() {
            // Watchers were told by whoever brought what there is more of.
            self.clear(WAITERS);
            self.wake(1);
        }
    }

    /// Makes attempts until one answers, and waits here in between until it looks `ready`; at `most` so long. While it spins,
    /// it looks whether that is `likely`. `idle` is called when it has slept for a while and nothing came; `announce` before
    /// it sleeps for the first time, and what that gives is dropped at the end.
    #[inline]
    pub(crate) fn persist<T, A>(
        &self,
        most: Deadline,
        likely: impl Fn() -> bool,
        ready: impl Fn() -> bool,
        idle: impl Fn(),
        announce: impl Fn() -> A,
        attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, Ended> {
        let (outcome, slept) = self.attempts(most, likely, &ready, idle, announce, attempt);
        // Also who goes away with nothing may have been woken in place of another.
        if slept {
            self.pass_baton(ready);
        }
        outcome
    }

    /// Waits until `ready`, where everybody is notified of every change, so that nothing is to be passed on.
    pub(crate) fn wait_until<A>(
        &self,
        most: Deadline,
        ready: impl Fn() -> bool,
        idle: impl Fn(),
        announce: impl Fn() -> A,
    ) -> Result<(), Ended> {
        let attempt = || ready().then_some(());
        self.attempts(most, &ready, &ready, idle, announce, attempt).0
    }

    /// What [`persist`](Self::persist) does before it passes on, and whether it slept.
    #[inline]
    fn attempts<T, A>(
        &self,
        most: Deadline,
        likely: impl Fn() -> bool,
        ready: impl Fn() -> bool,
        idle: impl Fn(),
        announce: impl Fn() -> A,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> (Result<T, Ended>, bool) {
        let (mut announced, mut sleeper) = (None, Sleeper::new());
        // What has not come in half a second does not come in the next microseconds.
        let mut spins = true;
        let outcome = loop {
            if let Some(answer) = attempt() {
                break Ok(answer);
            }
            if most.passed() {
                break Err(Ended::Late);
            }
            if announced.is_some() && interrupted() {
                break Err(Ended::Interrupted);
            }
            if !(spins && spin::until(&likely)) {
                let epoch = self.prepare_wait();
                if !ready() {
                    announced.get_or_insert_with(&announce);
                    spins = self.sleep(epoch, most, &mut sleeper) != Wake::TimedOut;
                    if !spins {
                        idle();
                    }
                }
            }
        };
        (outcome, announced.is_some())
    }
}

/// Why a wait ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The deadline came first.
    Late,
    /// The hook of [`on_interrupt`](crate::on_interrupt) said so.
    Interrupted,
}
