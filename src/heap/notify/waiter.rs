//! Waiters: each thread that goes to sleep over an object of the heap has a record here, made when it first does.
//!
//! A thread says in it what it waits for, for whoever inspects the program, and stands with it in the line of a condition
//! or among the parties of a barrier. The record is among the process's holds, so whoever clears up after a dead process
//! finds where its threads stood. A forked child inherits none: its threads make their own.

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

/// A thread's record. What is said of its wait is written by the thread alone, and means nothing to the engine.
#[repr(C, align(64))]
pub(crate) struct Waiter {
    head: Head,
    /// The thread (gettid(2)).
    thread: AtomicU64,
    /// A [`Purpose`], 0 while it is awake. Written last when a wait begins, and first when it ends.
    purpose: AtomicU64,
    /// The object it waits for.
    object: AtomicU64,
    /// Since when, on the monotonic clock.
    since: AtomicU64,

    // Where it stands. Journaled words, but for `asleep`.
    /// One of the [`wait_state`] constants. In a line, it is what the thread sleeps on.
    pub wait_state: AtomicU64,
    /// The line or barrier.
    pub place: AtomicU64,
    /// Its number in the line (once it is called: everybody with a lower one may be called in its place), or the barrier's
    /// generation.
    pub ticket: AtomicU64,
    /// Its neighbours in the line.
    pub prev: AtomicU64,
    pub next: AtomicU64,
    /// It sleeps, or is about to: whoever changes `wait_state` wakes it.
    pub asleep: AtomicU32,
    _pad: u32,
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for Waiter {}

/// How a thread stands somewhere.
pub(crate) mod wait_state {
    /// Nowhere.
    pub const NOWHERE: u64 = 0;
    /// In the line of a condition.
    pub const QUEUED: u64 = 1;
    /// Notified, and taken out of the line; it has not made use of that yet.
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

/// What a record says to whoever inspects the program.
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

/// A record among the holds of the process `owner`; freed when this is dropped there.
struct WaiterRecord {
    owner: u32,
    off: Off,
    slot: u64,
}

impl Drop for WaiterRecord {
    fn drop(&mut self) {
        // In a forked child it is a copy of something that the child does not hold.
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
    pub(crate) fn off(&self) -> Off {
        self.off
    }

    pub(crate) fn waiter(&self) -> &'h Waiter {
        self.heap.shared(self.off)
    }
}

/// While it lives, this thread's record says what it waits for; then what it said before.
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
    /// Says that this thread is about to sleep over the object at `off`. Without memory for a record it is not said.
    pub(crate) fn waiting_for(&self, off: Off, purpose: Purpose) -> Announced<'_> {
        // Nor beside somebody who is stopped: the wait has a deadline.
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

    /// A record that stands nowhere. (A hook that runs during a wait may wait as well: then the thread's own does.)
    pub(crate) fn lend_idle_waiter(&self) -> Result<Lent<'_>> {
        let lent = self.lend_waiter()?;
        if lent.waiter().wait_state.load(Ordering::Relaxed) == wait_state::NOWHERE {
            return Ok(lent);
        }
        self.make_waiter().map(|record| self.lend_own(record))
    }

    /// This thread's record; at the end of a thread, when it is gone, one that goes with the answer.
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

    fn lend_own(&self, record: WaiterRecord) -> Lent<'_> {
        Lent {
            heap: self,
            off: record.off,
            _own: Some(record),
        }
    }

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

/// This thread's record, made now and freed with the answer: for tests that count everything.
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
