//! Counting permits, which come back when their holder is killed. The protocol is in README.md beside this file.

use super::bias::{self, Bias, Share};
use crate::codec::{Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::internal::{self, Rank, unlock_internal};
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::waiter::{Announced, Purpose};
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::wait::event_count::{Ended, EventCount, Wait};
use crate::wait::robust_lock::RobustLock;
use core::fmt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The largest value, as `sem_post(3)` and Python have it.
pub(crate) const MAX_PERMITS: u64 = i32::MAX as u64;

/// Changes in a row by one process that bias a semaphore towards it, at first: each time that another process comes along
/// then, it takes twice as many the next time, until it takes [`PATIENT`].
const EAGER: u32 = if cfg!(test) { 2 } else { 16 };
const PATIENT: u32 = 4096;

#[repr(C, align(64))]
pub(crate) struct SemaphoreLayout {
    head: Head,
    lock: RobustLock,
    free: EventCount,
    bias: Bias,
    /// Permits to be had. While there is a bias, that says how many, and not this.
    value: AtomicU64,
    /// Permits of the dead that were given back, and whose next holders are to be told. None while there is a bias.
    returned: AtomicU64,
    /// The value it began with.
    initial: AtomicU64,
    /// The largest value.
    most: AtomicU64,
    /// The journal: where the tally is (0: nothing is going on), and what the three words become.
    tally_at: AtomicU64,
    new_tally: AtomicU64,
    new_value: AtomicU64,
    new_returned: AtomicU64,
    /// Where the tally of the process is that the bias is towards.
    bias_tally: AtomicU64,
    /// Who made the last changes, how many in a row, and how many it takes to bias it. Only guesses depend on them.
    last: AtomicU32,
    run: AtomicU32,
    bias_after: AtomicU32,
}

// SAFETY: repr(C) and atomics only.
#[allow(unsafe_code)]
unsafe impl SharedLayout for SemaphoreLayout {}

/// The kind of every semaphore.
pub(crate) const SEMAPHORE: ObjectKind = ObjectKind {
    number: 4,
    name: "semaphore",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe,
};

/// Names the kind for [`Handle`].
pub(crate) enum SemaphoreKind {}

impl SharedKind for SemaphoreKind {
    type Layout = SemaphoreLayout;
    const KIND: &'static ObjectKind = &SEMAPHORE;
}

fn describe(heap: &Heap, off: Off) -> Facts {
    let shared = heap.shared::<SemaphoreLayout>(off);
    let has = |share: Share| (share.owner, share.taken.cast_signed());
    let facts = Facts::of([
        ("value", shared.to_be_had()),
        ("initial", shared.initial.load(Ordering::Relaxed)),
        ("most", shared.most.load(Ordering::Relaxed)),
    ]);
    Facts {
        instead: shared.bias.share().map(has),
        ..facts
    }
}

impl SemaphoreLayout {
    /// Permits to be had; with others at work, old news at once.
    #[inline]
    fn to_be_had(&self) -> u64 {
        match self.bias.share() {
            Some(share) => share.free,
            None => self.value.load(Ordering::Relaxed),
        }
    }

    /// Whether it counts events, of which nothing ever comes back, so that nobody's share of it matters.
    #[inline]
    fn counts_events(&self) -> bool {
        self.initial.load(Ordering::Relaxed) == 0
    }

    /// Sets the value to what `next` makes of it, without the latch, which nobody needs who counts events.
    #[inline]
    fn count(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        let mut value = self.value.load(Ordering::Relaxed);
        while let Some(new) = next(value) {
            match self
                .value
                .compare_exchange(value, new, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => value = now,
            }
        }
        false
    }
}

/// A semaphore without a reference of its own.
#[derive(Clone, Copy)]
struct View<'h> {
    heap: &'h Heap,
    shared: &'h SemaphoreLayout,
}

impl View<'_> {
    /// Runs `change` under the latch, with nobody favoured.
    #[inline]
    fn locked<T>(self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.heap.lock_internal(&self.shared.lock, Rank::Object)? {
            self.replay();
        }
        if self.shared.bias.share().is_some() {
            self.unbias();
        }
        let answer = change();
        unlock_internal(&self.shared.lock, Rank::Object);
        answer
    }

    /// Sets value, tally and how many are to be told together, under the latch.
    #[inline]
    fn commit(self, value: u64, returned: u64, tally_at: Off, tally: u64) {
        let shared = self.shared;
        shared.new_value.store(value, Ordering::Relaxed);
        shared.new_returned.store(returned, Ordering::Relaxed);
        shared.new_tally.store(tally, Ordering::Relaxed);
        shared.tally_at.store(tally_at, Ordering::Release);
        self.carry_out(value, returned, tally_at, tally);
    }

    /// Takes the bias apart, under the latch.
    #[cold]
    fn unbias(self) {
        let shared = self.shared;
        let Some(share) = shared.bias.freeze() else { return };
        if share.owner != self.heap.me() {
            let bias_after = shared.bias_after.load(Ordering::Relaxed);
            shared
                .bias_after
                .store(bias_after.saturating_mul(2).min(PATIENT), Ordering::Relaxed);
        }
        let tally_at = shared.bias_tally.load(Ordering::Relaxed);
        let returned = shared.returned.load(Ordering::Relaxed);
        self.commit(share.free, returned, tally_at, share.taken);
    }

    /// Biases it, if this process has been alone with it for long enough; at the end of a change, under the latch.
    #[inline]
    fn maybe_bias(self, free: u64, returned: u64, tally_at: Off, taken: u64) {
        let (shared, owner) = (self.shared, self.heap.me());
        let again = shared.last.load(Ordering::Relaxed) == owner;
        let run = if again {
            shared.run.load(Ordering::Relaxed) + 1
        } else {
            0
        };
        let begins = run >= shared.bias_after.load(Ordering::Relaxed);
        shared.last.store(owner, Ordering::Relaxed);
        shared.run.store(if begins { 0 } else { run }, Ordering::Relaxed);
        // As long as others' permits are not among those that it has, it cannot release too many of them.
        let most = bias::MAX.min(shared.most.load(Ordering::Relaxed));
        if begins && returned == 0 && free.saturating_add(taken) <= most {
            shared.bias_tally.store(tally_at, Ordering::Relaxed);
            shared.bias.begin(Share { owner, free, taken });
        }
    }

    /// Writes what is decided.
    #[inline]
    fn carry_out(self, value: u64, returned: u64, tally_at: Off, tally: u64) {
        let shared = self.shared;
        shared.returned.store(returned, Ordering::Release);
        shared.value.store(value, Ordering::Release);
        self.heap.word(tally_at).store(tally, Ordering::Release);
        shared.bias.end();
        shared.tally_at.store(0, Ordering::Release);
    }

    /// Carries out what somebody who died had decided.
    #[cold]
    fn replay(self) {
        let shared = self.shared;
        let tally_at = shared.tally_at.load(Ordering::Acquire);
        if tally_at != 0 {
            let [value, returned, tally] = [&shared.new_value, &shared.new_returned, &shared.new_tally]
                .map(|word| word.load(Ordering::Relaxed));
            self.carry_out(value, returned, tally_at, tally);
        }
    }

    /// Sets value and how many are to be told, and adds to the tally.
    #[inline]
    fn change(self, value: u64, returned: u64, tally_at: Off, more: i64) {
        let tally = self.heap.word(tally_at).load(Ordering::Relaxed);
        let tally = tally.wrapping_add_signed(more);
        self.commit(value, returned, tally_at, tally);
        // A negative tally is a large number here, and prevents it.
        self.maybe_bias(value, returned, tally_at, tally);
    }

    /// Takes a permit if there is one; whether it comes from the dead.
    #[inline]
    fn try_acquire(self, tally_at: impl FnOnce() -> Result<Off>) -> Result<Option<bool>> {
        let (shared, me) = (self.shared, self.heap.me());
        if shared.bias.take(me) {
            return Ok(Some(false));
        }
        if me == 0 {
            return Err(Error::NoIdentity);
        }
        if shared.counts_events() {
            return Ok(shared.count(|value| value.checked_sub(1)).then_some(false));
        }
        if shared.to_be_had() == 0 {
            return Ok(None);
        }
        self.locked(|| {
            let value = shared.value.load(Ordering::Relaxed);
            if value == 0 {
                return Ok(None);
            }
            let returned = shared.returned.load(Ordering::Relaxed);
            self.change(value - 1, returned.saturating_sub(1), tally_at()?, 1);
            Ok(Some(returned > 0))
        })
    }

    #[inline]
    fn release(self, tally_at: impl FnOnce() -> Result<Off>) -> Result<()> {
        let shared = self.shared;
        if !shared.bias.give_back(self.heap.me()) {
            self.add_one(tally_at)?;
        }
        shared.free.notify_one();
        Ok(())
    }

    fn add_one(self, tally_at: impl FnOnce() -> Result<Off>) -> Result<()> {
        let shared = self.shared;
        if self.heap.me() == 0 {
            return Err(Error::NoIdentity);
        }
        let max = shared.most.load(Ordering::Relaxed);
        let full = || Err(Error::TooManyReleases { max });
        if shared.counts_events() {
            let added = shared.count(|value| (value < max).then_some(value + 1));
            return if added { Ok(()) } else { full() };
        }
        self.locked(|| {
            let value = shared.value.load(Ordering::Relaxed);
            if value >= max {
                return full();
            }
            let returned = shared.returned.load(Ordering::Relaxed);
            self.change(value + 1, returned, tally_at()?, -1);
            Ok(())
        })
    }
}

/// A process that had permits is dead: if it was killed, they come back, as far as there were that many in the beginning. What
/// one that ended in an orderly way has not given back, it has left to others to release.
fn on_holder_death(heap: &Heap, off: Off, dead: u32, tally_at: Off) -> Result<()> {
    let shared = heap.shared::<SemaphoreLayout>(off);
    let view = View { heap, shared };
    shared.lock.mark_owner_dead(dead);
    view.locked(|| {
        let had = heap.word(tally_at).load(Ordering::Relaxed).cast_signed();
        let value = shared.value.load(Ordering::Relaxed);
        let room = shared.initial.load(Ordering::Relaxed).saturating_sub(value);
        let back = room.min(u64::try_from(had).unwrap_or(0));
        if had != 0 && !heap.took_leave(dead) {
            let returned = shared.returned.load(Ordering::Relaxed) + back;
            view.commit(value + back, returned, tally_at, 0);
        }
        Ok(())
    })?;
    shared.free.wake_unconditionally();
    Ok(())
}

/// A semaphore between processes and threads: so many permits, and whoever wants one waits until there is one.
///
/// A handle can be cloned, passed to processes and sent through queues. When a process is killed, the permits it had come back
/// (those it acquired less those it released, as far as there were that many in the beginning), and as many of the next to
/// acquire are told by [`Permit::owner_died`]. What a process has [forgotten](Permit::forget) that ends in an orderly way (it
/// returns, panics or calls [`exit`](std::process::exit)) stays taken, for somebody else to [release](Self::release). The
/// semantics are those of Python's `multiprocessing.Semaphore` and `BoundedSemaphore`, which lose the permits of the killed.
///
/// ```
/// use procession::Semaphore;
/// let tables = Semaphore::bounded(2)?;
/// let _first = tables.acquire()?;
/// {
///     let _second = tables.acquire()?;
///     assert!(tables.try_acquire().is_err());
/// }
/// assert_eq!(tables.value(), 1);
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Semaphore(Handle<SemaphoreKind>);

impl From<Handle<SemaphoreKind>> for Semaphore {
    fn from(handle: Handle<SemaphoreKind>) -> Self {
        Self(handle)
    }
}

impl Semaphore {
    /// A semaphore with `value` permits, which may be released more often than it is acquired.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::Capacity`] for a value beyond 2³¹ − 1; what the system said when the program's
    /// shared memory was set up.
    pub fn new(value: usize) -> Result<Self> {
        Self::with(value as u64, MAX_PERMITS)
    }

    /// The same, but releasing it more often than it was acquired is an error.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn bounded(value: usize) -> Result<Self> {
        Self::with(value as u64, value as u64)
    }

    pub(crate) fn with(value: u64, most: u64) -> Result<Self> {
        if value > MAX_PERMITS {
            return Err(Error::Capacity {
                given: value,
                max: MAX_PERMITS,
            });
        }
        let semaphore = Self(Handle::new()?);
        let shared = semaphore.0.layout();
        shared.initial.store(value, Ordering::Relaxed);
        shared.most.store(most, Ordering::Relaxed);
        shared.bias_after.store(EAGER, Ordering::Relaxed);
        shared.value.store(value, Ordering::Release);
        Ok(semaphore)
    }

    #[inline]
    fn view(&self) -> View<'_> {
        View {
            heap: self.0.heap(),
            shared: self.0.layout(),
        }
    }

    /// Takes a permit, waiting for one; it goes back when the answer is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] where a hook asks for it.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if there is none.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Now)
    }

    /// Takes a permit, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; as for [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    pub(crate) fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let owner = self.0.me();
        if self.0.layout().bias.take(owner) {
            return Ok(Permit {
                semaphore: self,
                owner,
                returned: false,
            });
        }
        self.acquire_locked(deadline)
    }

    fn acquire_locked(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let mut acquiring = Acquiring {
            semaphore: self,
            deadline,
        };
        let free = &self.view().shared.free;
        let taken = free.attempt_or_wait(&mut acquiring, deadline);
        match taken {
            Ok(returned) => Ok(Permit {
                semaphore: self,
                owner: self.0.me(),
                returned: returned?,
            }),
            Err(Ended::Late) => Err(Error::Timeout),
            Err(Ended::Interrupted) => Err(Error::Interrupted),
        }
    }

    /// Gives back a permit that was [forgotten](Permit::forget), or adds one.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReleases`] for a bounded semaphore that has all its permits, or at 2³¹ − 1.
    #[inline]
    pub fn release(&self) -> Result<()> {
        self.view().release(|| self.0.heap().tally_of(self.0.object()))
    }

    /// Takes a permit if this process is favoured, and has one.
    #[inline]
    pub(crate) fn take_quick(&self) -> bool {
        self.0.layout().bias.take(self.0.me())
    }

    /// Gives a permit back if this process is favoured.
    #[inline]
    pub(crate) fn release_quick(&self) -> bool {
        let shared = self.0.layout();
        let given = shared.bias.give_back(self.0.me());
        if given {
            shared.free.notify_one();
        }
        given
    }

    /// Whether somebody is in the middle of a change.
    pub(crate) fn is_in_change(&self) -> bool {
        self.0.layout().lock.owner() != 0
    }

    /// Permits to be had; with others at work, old news at once.
    pub fn value(&self) -> usize {
        self.0.layout().to_be_had() as usize
    }

    pub(crate) fn handle(&self) -> &Handle<SemaphoreKind> {
        &self.0
    }
}

impl Drop for Semaphore {
    /// The tally that a bias speaks of goes with the process's last handle, so no bias outlasts a handle.
    fn drop(&mut self) {
        let view = self.view();
        if view.shared.bias.is_towards(self.0.me()) && view.locked(|| Ok(())).is_err() {
            // Somebody is stopped who is in the middle of a change: then the reference stays as long as this process.
            core::mem::forget(self.0.clone());
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .finish_non_exhaustive()
    }
}

/// A permit of a [`Semaphore`], given back when this is dropped. In a forked child the copy is empty: the parent has it.
#[must_use = "the permit goes back when this is dropped"]
#[derive(Debug)]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    owner: u32,
    returned: bool,
}

impl Permit<'_> {
    /// Whether a process died with this permit: what the permit stands for may be half done.
    pub fn owner_died(&self) -> bool {
        self.returned
    }

    /// Keeps the permit beyond this value, for [`Semaphore::release`] to give back.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.owner == self.semaphore.0.me() {
            // It can only fail where somebody released a permit that was not theirs. Whoever is stopped is waited for.
            let _ = internal::insist(|| self.semaphore.release());
        }
    }
}

/// Waits for a permit. It answers whether the permit comes from a dead process.
struct Acquiring<'s> {
    semaphore: &'s Semaphore,
    deadline: Deadline,
}

impl Wait for Acquiring<'_> {
    type Answer = Result<bool>;
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<Self::Answer> {
        let (view, handle) = (self.semaphore.view(), &self.semaphore.0);
        // Where the tally is, is asked each time: a hook may have forked.
        internal::until(self.deadline, || {
            view.try_acquire(|| handle.heap().tally_of(handle.object()))
        })
        .transpose()
    }

    fn is_ready(&self) -> bool {
        self.semaphore.value() > 0
    }

    fn announce(&self) -> Self::Announced {
        let handle = &self.semaphore.0;
        handle.heap().waiting_for(handle.off(), Purpose::Permit)
    }

    fn on_idle(&self) {
        // A dead process may have the permits.
        self.semaphore.0.heap().sweep_dead_rate_limited();
    }
}
