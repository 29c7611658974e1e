//! A semaphore in shared memory: how a permit is taken and given back.

use crate::codec::SharedKind;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::internal::{Rank, unlock_internal};
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::sync::bias::{self, Bias, Share};
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::wait::event_count::EventCount;
use crate::wait::robust_lock::RobustLock;

/// The number of changes in a row by one process that bias a semaphore towards it, at first. Each time another
/// process ends the bias, the number doubles, up to [`PATIENT`].
pub(super) const EAGER: u32 = if cfg!(test) { 2 } else { 16 };
const PATIENT: u32 = 4096;

#[repr(C, align(64))]
pub(crate) struct SemaphoreLayout {
    head: Head,
    pub(super) lock: RobustLock,
    pub(super) free: EventCount,
    pub(super) bias: Bias,
    /// Free permits. Out of date while there is a bias, which says how many there are.
    pub(super) value: AtomicU64,
    /// Permits that came back from dead processes, and whose next holders are to be told. None while there is a bias.
    returned: AtomicU64,
    /// The value it began with.
    pub(super) initial: AtomicU64,
    /// The largest value.
    pub(super) most: AtomicU64,
    /// The journal: where the tally is (0: no change is going on), and what the three words become.
    tally_at: AtomicU64,
    new_tally: AtomicU64,
    new_value: AtomicU64,
    new_returned: AtomicU64,
    /// Where the tally is of the process that the bias is towards.
    bias_tally: AtomicU64,
    /// Whether to begin a bias depends on these three words, and nothing else does: the process that made the last
    /// change, the number of changes that it made in a row, and the number in a row after which a bias begins.
    last: AtomicU32,
    run: AtomicU32,
    pub(super) bias_after: AtomicU32,
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

/// Names the kind for [`Handle`](crate::codec::Handle).
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
    /// Returns the number of free permits. It may be out of date at once.
    #[inline]
    pub(super) fn to_be_had(&self) -> u64 {
        match self.bias.share() {
            Some(share) => share.free,
            None => self.value.load(Ordering::Relaxed),
        }
    }

    /// Returns true if the semaphore counts events. Then no permits ever come back, and no tally is kept.
    #[inline]
    fn counts_events(&self) -> bool {
        self.initial.load(Ordering::Relaxed) == 0
    }

    /// Sets the value to what `next` makes of it. This needs no lock, and is for a semaphore that counts events.
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

/// A semaphore seen without a reference to it: clearing up after the dead has none.
#[derive(Clone, Copy)]
pub(super) struct View<'h> {
    pub(super) heap: &'h Heap,
    pub(super) shared: &'h SemaphoreLayout,
}

impl View<'_> {
    /// Runs `change` under the lock, with no bias.
    #[inline]
    pub(super) fn locked<T>(self, change: impl FnOnce() -> Result<T>) -> Result<T> {
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

    /// Sets value, tally and the number to be told together. The caller holds the lock.
    #[inline]
    fn commit(self, value: u64, returned: u64, tally_at: Off, tally: u64) {
        let shared = self.shared;
        shared.new_value.store(value, Ordering::Relaxed);
        shared.new_returned.store(returned, Ordering::Relaxed);
        shared.new_tally.store(tally, Ordering::Relaxed);
        shared.tally_at.store(tally_at, Ordering::Release);
        self.carry_out(value, returned, tally_at, tally);
    }

    /// Ends the bias. The caller holds the lock.
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

    /// Begins a bias if this process has made enough changes in a row. Called at the end of a change, under the lock.
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
        // A process that has only permits of its own cannot release too many.
        let most = bias::MAX.min(shared.most.load(Ordering::Relaxed));
        if begins && returned == 0 && free.saturating_add(taken) <= most {
            shared.bias_tally.store(tally_at, Ordering::Relaxed);
            shared.bias.begin(Share { owner, free, taken });
        }
    }

    /// Writes what was decided.
    #[inline]
    fn carry_out(self, value: u64, returned: u64, tally_at: Off, tally: u64) {
        let shared = self.shared;
        shared.returned.store(returned, Ordering::Release);
        shared.value.store(value, Ordering::Release);
        self.heap.word(tally_at).store(tally, Ordering::Release);
        shared.bias.end();
        shared.tally_at.store(0, Ordering::Release);
    }

    /// Carries out what a process had decided that died.
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

    /// Sets the value and the number to be told, and adds to the tally.
    #[inline]
    fn change(self, value: u64, returned: u64, tally_at: Off, more: i64) {
        let tally = self.heap.word(tally_at).load(Ordering::Relaxed);
        let tally = tally.wrapping_add_signed(more);
        self.commit(value, returned, tally_at, tally);
        // A negative tally is a large number here, and prevents a bias.
        self.maybe_bias(value, returned, tally_at, tally);
    }

    /// Takes a permit if one is free. Returns true if it came back from a dead process.
    #[inline]
    pub(super) fn try_acquire(self, tally_at: impl FnOnce() -> Result<Off>) -> Result<Option<bool>> {
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
    pub(super) fn release(self, tally_at: impl FnOnce() -> Result<Off>) -> Result<()> {
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

/// Gives the permits of a dead process back, if it was killed, as far as there were that many in the beginning. A
/// process that ended in an orderly way has left its permits for others to release.
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
