//! The event count: where a thread sleeps until something may have changed.
//!
//! It is one word: [`WAITERS`] in bit 0, [`REGISTERED`] in bit 1, above them an epoch that changes with every
//! notification.
//!
//! 1. A thread that is about to wait sets `WAITERS` ([`EventCount::prepare_wait`]), looks once more at what it waits
//!    for, and sleeps only while the word is still what it saw then.
//! 2. A selector sleeps elsewhere, because it waits for several things. It sets `REGISTERED`
//!    ([`EventCount::mark_registered`]), and looks once more.
//! 3. A notifier makes its change, and then loads the word. If neither bit is set, which is the common case, it makes
//!    no system call. Otherwise it clears both bits, wakes one sleeper, and tells the selectors.
//! 4. So of a burst of notifications one makes a system call. The sleeper that it woke takes what it came for, and then
//!    passes the baton ([`EventCount::pass_baton`]): it sets `WAITERS` for those that may still sleep, and wakes one of
//!    them if there is more.
//!
//! There is no count of sleepers that a death could falsify.

use super::atomic::{AtomicU32, Ordering, fence_after_rmw};
use super::interrupt::interrupted;
use super::sleeper::Sleeper;
use super::spin;
use crate::os::clock::Deadline;
use crate::os::futex::Wake;

/// A thread may sleep here.
const WAITERS: u32 = 1;
/// A selector, which sleeps elsewhere, is to be told.
const REGISTERED: u32 = 2;
const EPOCH: u32 = 4;

/// An event count, in shared memory or not. All zero is one at which nobody sleeps.
#[repr(transparent)]
pub(crate) struct EventCount(AtomicU32);

/// What the word was when a thread prepared to wait. The thread sleeps only while the word is still the same.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u32);

impl EventCount {
    /// Makes an event count in the memory of a process, for its threads.
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Announces a sleeper. Between this and [`sleep`](Self::sleep), look again at what it waits for.
    pub(crate) fn prepare_wait(&self) -> Epoch {
        let before = self.0.fetch_or(WAITERS, Ordering::SeqCst);
        fence_after_rmw();
        Epoch(before | WAITERS)
    }

    /// Sleeps until a notification after `epoch`, the deadline, a signal handler, or until the `sleeper` wants to look
    /// for itself. Look again after it.
    pub(crate) fn sleep(&self, epoch: Epoch, deadline: Deadline, sleeper: &mut Sleeper) -> Wake {
        sleeper.sleep(&self.0, epoch.0, deadline)
    }

    /// Announces a selector. After this, look again at what it waits for.
    pub(crate) fn mark_registered(&self) {
        self.0.fetch_or(REGISTERED, Ordering::SeqCst);
        fence_after_rmw();
    }

    /// Wakes one sleeper, if there may be one. Call it after a read-modify-write that follows the change.
    ///
    /// This is for an event count at which no selector registers.
    #[inline]
    pub(crate) fn notify_one(&self) {
        let registered = self.notify(1);
        debug_assert!(!registered, "a selector registered where it is not told");
    }

    /// Wakes every sleeper, if there may be one; otherwise as [`notify_one`](Self::notify_one).
    #[inline]
    pub(crate) fn notify_all(&self) {
        let registered = self.notify(u32::MAX);
        debug_assert!(!registered, "a selector registered where it is not told");
    }

    /// Wakes up to `count` sleepers, if there may be some. Returns true if selectors may be registered: the caller must
    /// tell all of them. Call it after a read-modify-write that follows the change.
    #[inline]
    #[must_use = "registered selectors are to be told"]
    pub(crate) fn notify(&self, count: u32) -> bool {
        fence_after_rmw();
        if self.0.load(Ordering::Relaxed) & (WAITERS | REGISTERED) == 0 {
            return false;
        }
        self.notify_marked(count)
    }

    #[inline]
    fn notify_marked(&self, count: u32) -> bool {
        let marks = self.clear(WAITERS | REGISTERED);
        if marks & WAITERS != 0 {
            self.wake(count);
        }
        marks & REGISTERED != 0
    }

    /// Wakes every sleeper, whether or not there may be one. Selectors have to be told besides.
    pub(crate) fn wake_unconditionally(&self) {
        self.clear(WAITERS);
        self.wake(u32::MAX);
    }

    /// Does the half of a notification that changes the word. Returns true if the other half, [`wake`](Self::wake), is
    /// due. This is for callers that must not make a system call yet.
    pub(crate) fn take_waiters(&self) -> bool {
        fence_after_rmw();
        self.0.load(Ordering::Relaxed) & WAITERS != 0 && self.clear(WAITERS) & WAITERS != 0
    }

    /// Wakes up to `count` sleepers, after `WAITERS` was cleared.
    pub(crate) fn wake(&self, count: u32) {
        self.0.futex_wake(count);
    }

    /// Begins a new epoch and clears `marks`. Returns those of them that were set.
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

    /// Passes a notification on: sets `WAITERS` for the threads that may still sleep, and wakes one of them at once if
    /// there is `more` for them. For a thread that was woken, and goes on.
    pub(crate) fn pass_baton(&self, more: impl FnOnce() -> bool) {
        self.0.fetch_or(WAITERS, Ordering::SeqCst);
        fence_after_rmw();
        if more() {
            // Selectors were told by the notifier that brought what there is more of.
            self.clear(WAITERS);
            self.wake(1);
        }
    }

    /// Makes an attempt, and [waits](Self::wait) if it fails.
    #[inline]
    pub(crate) fn attempt_or_wait<W: Wait>(
        &self,
        wait: &mut W,
        deadline: Deadline,
    ) -> Result<W::Answer, Ended> {
        match wait.attempt() {
            Some(answer) => Ok(answer),
            None => self.wait(wait, deadline),
        }
    }

    /// Waits here until an attempt of `wait` answers. The caller has made the first attempt.
    #[inline(never)]
    pub(crate) fn wait<W: Wait>(&self, wait: &mut W, deadline: Deadline) -> Result<W::Answer, Ended> {
        let (mut announced, mut sleeper) = (None, Sleeper::new());
        // What has not come in half a second does not come in the next microseconds.
        let mut spins = true;
        let outcome = loop {
            if deadline.passed() {
                break Err(Ended::Late);
            }
            if announced.is_some() && interrupted() {
                break Err(Ended::Interrupted);
            }
            if !(spins && spin::until(|| wait.is_likely())) {
                let epoch = self.prepare_wait();
                if !wait.is_ready() {
                    announced.get_or_insert_with(|| wait.announce());
                    spins = self.sleep(epoch, deadline, &mut sleeper) != Wake::TimedOut;
                    if !spins {
                        wait.on_idle();
                    }
                }
            }
            if let Some(answer) = wait.attempt() {
                break Ok(answer);
            }
        };
        let slept = announced.is_some();
        drop((announced, sleeper));
        // Also a thread that goes away with nothing may have been woken in place of another.
        if W::PASSES_BATON && slept {
            self.pass_baton(|| wait.is_ready());
        }
        outcome
    }
}

/// What a thread waits for at an event count.
pub(crate) trait Wait {
    /// What an attempt that succeeds returns.
    type Answer;
    /// What lives for as long as the thread sleeps, so that others see what it waits for.
    type Announced;
    /// False if every sleeper is notified of every change, so that nothing is to be passed on.
    const PASSES_BATON: bool = true;

    /// Does what the thread waits to do; `None` if it is not possible yet.
    fn attempt(&mut self) -> Option<Self::Answer>;

    /// Returns true if an attempt may succeed. It is asked after [`EventCount::prepare_wait`] and before sleeping.
    fn is_ready(&self) -> bool;

    /// Returns true if an attempt is likely to succeed. It is asked over and over while the thread spins.
    fn is_likely(&self) -> bool {
        self.is_ready()
    }

    /// Announces that the thread is about to sleep for the first time.
    fn announce(&self) -> Self::Announced;

    /// Runs when the thread has slept for a while and nothing came.
    fn on_idle(&self) {}
}

/// Why a wait ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The deadline came first.
    Late,
    /// The hook of [`on_interrupt`](crate::on_interrupt) said so.
    Interrupted,
}

/// What a thread of a model waits for.
#[cfg(all(test, loom))]
pub(crate) struct Probe<R, A> {
    pub ready: R,
    pub attempt: A,
}

#[cfg(all(test, loom))]
impl<T, R: Fn() -> bool, A: FnMut() -> Option<T>> Wait for Probe<R, A> {
    type Answer = T;
    type Announced = ();

    fn attempt(&mut self) -> Option<T> {
        (self.attempt)()
    }

    fn is_ready(&self) -> bool {
        (self.ready)()
    }

    fn announce(&self) {}
}

/// The same for what every sleeper is notified of.
#[cfg(all(test, loom))]
pub(crate) struct ProbeAll<R>(pub R);

#[cfg(all(test, loom))]
impl<R: Fn() -> bool> Wait for ProbeAll<R> {
    type Answer = ();
    type Announced = ();
    const PASSES_BATON: bool = false;

    fn attempt(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }

    fn is_ready(&self) -> bool {
        (self.0)()
    }

    fn announce(&self) {}
}
