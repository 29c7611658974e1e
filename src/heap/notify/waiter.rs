//! Waiters: each thread that sleeps on an object of the heap has a record here, made when it first sleeps.
//!
//! A thread publishes in it what it waits for, for inspection. With it the thread is in the queue of a condition or
//! among the parties of a barrier. The record is among the references of the process, so clearing up after a dead
//! process finds the queues and barriers at which its threads were. A forked child inherits no records: its threads
//! make their own.

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::facts::{Facts, Waits};
use crate::heap::memory::layout::{Head, Off, SharedLayout};
use crate::heap::memory::limit::until;
use crate::os::clock::{self, Deadline};
use crate::os::pid::own_thread;
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering};
use core::cell::Cell;

// At their old paths, for the rooms below.
pub(crate) use crate::heap::memory::layout::WAITER;

/// A thread's record. What describes its wait is written by the thread alone, and the engine does not depend on it.
#[repr(C, align(64))]
pub(crate) struct Waiter {
    head: Head,
    /// The thread (gettid(2)).
    thread: AtomicU64,
    /// A [`Purpose`], 0 while it is awake. Written last when a wait begins, and first when it ends.
    purpose: AtomicU64,
    /// The object it waits for.
    object: AtomicU64,
    /// When the wait began, on the monotonic clock.
    since: AtomicU64,

    // Its place in a queue or at a barrier. Journaled words, except for `asleep`.
    /// One of the [`wait_state`] constants. In a queue, the thread sleeps on this word.
    pub wait_state: AtomicU64,
    /// The queue or barrier.
    pub place: AtomicU64,
    /// Its number in the queue (once it is notified, every waiter with a lower number may take the notification in its
    /// place), or the barrier's generation.
    pub ticket: AtomicU64,
    /// Its neighbours in the queue.
    pub prev: AtomicU64,
    pub next: AtomicU64,
    /// Not zero if the thread sleeps or is about to: then a change of `wait_state` is followed by a wake-up.
    pub asleep: AtomicU32,
    _pad: u32,
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for Waiter {}

/// The states of a waiting thread.
pub(crate) mod wait_state {
    /// In no queue and at no barrier.
    pub const NOWHERE: u64 = 0;
    /// In the queue of a condition.
    pub const QUEUED: u64 = 1;
    /// Notified, and taken out of the queue; the thread has not acted on that yet.
    pub const NOTIFIED: u64 = 2;
    /// It has arrived at a barrier.
    pub const AT_BARRIER: u64 = 3;
}

/// Offset of a field of the record at `off`.
macro_rules! waiter {
    ($off:expr, $field:ident) => {
        $off + core::mem::offset_of!(crate::heap::notify::waiter::Waiter, $field)
            as crate::heap::memory::layout::Off
    };
}
pub(crate) use waiter;

/// What a thread wants of the object it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    Lock = 1,
    Get,
    Put,
    Join,
    Permit,
    Condition,
    Event,
    Barrier,
    Wait,
}

/// The purposes' names, from 1 on.
const NAMES: [&str; Purpose::Wait as usize] = [
    "lock",
    "get",
    "put",
    "join",
    "permit",
    "condition",
    "event",
    "barrier",
    "wait",
];

/// Returns the description of a record, for inspection.
pub(crate) fn describe(heap: &Heap, off: Off) -> Facts {
    let waiter: &Waiter = heap.shared(off);
    let purpose = waiter.purpose.load(Ordering::Acquire) as usize;
    let waits = purpose
        .checked_sub(1)
        .and_then(|n| NAMES.get(n))
        .map(|what| Waits {
            thread: waiter.thread.load(Ordering::Relaxed) as u32,
            object: waiter.object.load(Ordering::Relaxed),
            what,
            since: waiter.since.load(Ordering::Relaxed),
        });
    Facts {
        waits,
        ..Facts::default()
    }
}

thread_local! {
    static MINE: Cell<Option<WaiterRecord>> = const { Cell::new(None) };
}

/// A record among the references of the process `owner`; freed when this is dropped there.
struct WaiterRecord {
    owner: u32,
    off: Off,
    slot: u64,
}

impl Drop for WaiterRecord {
    fn drop(&mut self) {
        // In a forked child it is a copy of a record to which the child has no reference.
        if let Some(heap) = Heap::existing()
            && heap.me() == self.owner
        {
            heap.release(self.slot);
        }
    }
}

/// A record for the wait of this thread: the thread's own, or one for this wait alone.
pub(crate) struct Lent<'h> {
    heap: &'h Heap,
    off: Off,
    _own: Option<WaiterRecord>,
}

impl<'h> Lent<'h> {
    /// Returns the offset of the record.
    pub(crate) fn off(&self) -> Off {
        self.off
    }

    /// Returns the record.
    pub(crate) fn waiter(&self) -> &'h Waiter {
        self.heap.shared(self.off)
    }
}

/// While it exists, this thread's record tells what the thread waits for; when it is dropped, the record tells what it
/// told before.
pub(crate) struct Announced<'h> {
    lent: Option<Lent<'h>>,
    before: (u64, u64, u64),
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if let Some(lent) = &self.lent {
            let (purpose, object, since) = self.before;
            lent.waiter().say(purpose, object, since);
        }
    }
}

impl Waiter {
    /// Publishes what the thread waits for; purpose 0: nothing.
    fn say(&self, purpose: u64, object: Off, since: u64) {
        self.purpose.store(0, Ordering::Release);
        if purpose != 0 {
            self.object.store(object, Ordering::Relaxed);
            self.since.store(since, Ordering::Relaxed);
            self.purpose.store(purpose, Ordering::Release);
        }
    }
}

impl Heap {
    /// Publishes that this thread is about to block on the object at `off`; skipped if no record can be allocated.
    pub(crate) fn waiting_for(&self, off: Off, purpose: Purpose) -> Announced<'_> {
        // It is also skipped while a process is stopped in a transaction, because the wait has a deadline.
        let lent = until(Deadline::Now, || self.lend_waiter()).ok();
        let before = lent.as_ref().map_or((0, 0, 0), |lent| {
            let waiter = lent.waiter();
            let before =
                [&waiter.purpose, &waiter.object, &waiter.since].map(|word| word.load(Ordering::Relaxed));
            waiter.say(purpose as u64, off, clock::now());
            before.into()
        });
        Announced { lent, before }
    }

    /// Returns a record that is in no queue and at no barrier. (A hook that runs during a wait may wait as well:
    /// then the thread's own record is in use.)
    pub(crate) fn lend_idle_waiter(&self) -> Result<Lent<'_>> {
        let lent = self.lend_waiter()?;
        if lent.waiter().wait_state.load(Ordering::Relaxed) == wait_state::NOWHERE {
            return Ok(lent);
        }
        self.make_waiter().map(|record| self.lend_own(record))
    }

    /// Returns this thread's record, or, at the end of a thread, when that is gone, one that is freed with the
    /// answer.
    fn lend_waiter(&self) -> Result<Lent<'_>> {
        let known = MINE.try_with(|mine| {
            let record = mine.take().filter(|record| record.owner == self.me());
            let off = record.as_ref().map(|record| record.off);
            mine.set(record);
            off
        });
        if let Ok(Some(off)) = known {
            return Ok(Lent {
                heap: self,
                off,
                _own: None,
            });
        }
        let record = self.make_waiter()?;
        let off = record.off;
        let mut record = Some(record);
        let _ = MINE.try_with(|mine| mine.set(record.take()));
        Ok(Lent {
            heap: self,
            off,
            _own: record,
        })
    }

    /// Returns a record that is freed with the answer.
    fn lend_own(&self, record: WaiterRecord) -> Lent<'_> {
        Lent {
            heap: self,
            off: record.off,
            _own: Some(record),
        }
    }

    /// Makes a record for this thread.
    fn make_waiter(&self) -> Result<WaiterRecord> {
        let owner = self.me();
        let kind = self.kind(WAITER).filter(|_| owner != 0);
        let kind = kind.ok_or_else(|| Error::BadHeap("this process has no place in it".to_owned()))?;
        self.make(kind, size_of::<Waiter>() as u64, 0, |off, slot| {
            let waiter: &Waiter = self.shared(off);
            waiter.thread.store(u64::from(own_thread()), Ordering::Relaxed);
            WaiterRecord { owner, off, slot }
        })
    }
}

/// Makes this thread's record, which is freed with the answer: for tests that count everything.
#[cfg(all(test, not(loom)))]
pub(crate) fn keep(heap: &Heap) -> impl Drop {
    struct Kept;
    impl Drop for Kept {
        fn drop(&mut self) {
            drop(MINE.take());
        }
    }
    heap.lend_waiter().expect("memory");
    Kept
}
