//! The line of a condition: threads that wait to be called, first come first served. The protocol is in README.md beside
//! this file.

use super::lock::Relock;
use crate::codec::{Handle, SharedKind};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::internal::insist;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::tx::Tx;
use crate::heap::waiter::{Lent, Purpose, wait_state, waiter};
use crate::os::clock::Deadline;
use crate::os::futex::Wake;
use crate::wait::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::wait::interrupt::interrupted;
use crate::wait::sleeper::Sleeper;
use crate::wait::spin;
use core::fmt;
use core::mem::offset_of;
use serde::{Deserialize, Serialize};

/// How many one transaction calls.
const BATCH: usize = 16;

/// A line in shared memory; transactions change it.
#[repr(C, align(64))]
pub(crate) struct WaitQueueLayout {
    head: Head,
    /// The records of the first and the last who wait.
    first: AtomicU64,
    last: AtomicU64,
    /// How many wait.
    count: AtomicU64,
    /// How many have ever waited: the next one's ticket.
    tickets: AtomicU64,
}

// SAFETY: repr(C) and atomics only.
#[allow(unsafe_code)]
unsafe impl SharedLayout for WaitQueueLayout {}

/// Offset of a field of the line at `off`.
macro_rules! wait_queue {
    ($off:expr, $field:ident) => {
        $off + offset_of!(WaitQueueLayout, $field) as Off
    };
}

/// The kind of every line.
pub(crate) const CONDITION: ObjectKind = ObjectKind {
    number: 6,
    name: "condition",
    // What a dead process's threads were doing in it, their records tell.
    on_holder_death: |_, _, _, _| Ok(()),
    clear: |_, _| Ok(()),
    describe: |heap, off| {
        let waiting = heap.shared::<WaitQueueLayout>(off).count.load(Ordering::Relaxed);
        Facts::of([("waiting", waiting)])
    },
};

/// Names the kind for [`Handle`].
pub(crate) enum WaitQueueKind {}

impl SharedKind for WaitQueueKind {
    type Layout = WaitQueueLayout;
    const KIND: &'static ObjectKind = &CONDITION;
}

/// Puts the record at `who` at the end of the line.
fn join(tx: &mut Tx<'_>, queue: Off, who: Off) {
    let (last, ticket) = (
        tx.get(wait_queue!(queue, last)),
        tx.get(wait_queue!(queue, tickets)),
    );
    tx.set(waiter!(who, place), queue);
    tx.set(waiter!(who, ticket), ticket);
    tx.set(waiter!(who, prev), last);
    tx.set(waiter!(who, next), 0);
    tx.set(waiter!(who, wait_state), wait_state::QUEUED);
    match last {
        0 => tx.set(wait_queue!(queue, first), who),
        last => tx.set(waiter!(last, next), who),
    }
    tx.set(wait_queue!(queue, last), who);
    tx.set(wait_queue!(queue, tickets), ticket + 1);
    tx.add(wait_queue!(queue, count), 1);
}

/// Takes the record at `who`, which is in the line, out of it.
fn leave(tx: &mut Tx<'_>, queue: Off, who: Off) {
    let (prev, next) = (tx.get(waiter!(who, prev)), tx.get(waiter!(who, next)));
    match prev {
        0 => tx.set(wait_queue!(queue, first), next),
        prev => tx.set(waiter!(prev, next), next),
    }
    match next {
        0 => tx.set(wait_queue!(queue, last), prev),
        next => tx.set(waiter!(next, prev), prev),
    }
    tx.add(wait_queue!(queue, count), -1);
    tx.set(waiter!(who, wait_state), wait_state::NOWHERE);
}

/// Calls the first in the line, if its ticket is below `bound`; who is to be woken.
fn notify_first(tx: &mut Tx<'_>, queue: Off, bound: u64) -> Option<Off> {
    let first = tx.get(wait_queue!(queue, first));
    if first == 0 || tx.get(waiter!(first, ticket)) >= bound {
        return None;
    }
    leave(tx, queue, first);
    tx.set(waiter!(first, wait_state), wait_state::NOTIFIED);
    tx.set(waiter!(first, ticket), bound);
    Some(first)
}

/// What becomes of a record in a line or called from it whose thread makes no use of that: who is to be woken in its place.
pub(super) fn abandon(tx: &mut Tx<'_>, who: Off) -> Option<Off> {
    let queue = tx.get(waiter!(who, place));
    match tx.get(waiter!(who, wait_state)) {
        wait_state::QUEUED => {
            leave(tx, queue, who);
            None
        }
        wait_state::NOTIFIED => {
            tx.set(waiter!(who, wait_state), wait_state::NOWHERE);
            notify_first(tx, queue, tx.get(waiter!(who, ticket)))
        }
        _ => None,
    }
}

/// Wakes somebody whom a transaction has called. If the record is gone meanwhile, somebody wakes for nothing.
pub(super) fn wake(heap: &Heap, who: Off) {
    fence_after_rmw();
    if heap.futex(waiter!(who, asleep)).load(Ordering::Relaxed) != 0 {
        heap.futex(waiter!(who, wait_state)).futex_wake(1);
    }
}

/// How a wait in a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// Somebody called.
    Notified,
    /// The deadline came first.
    TimedOut,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended it.
    Interrupted,
}

/// A place in a line, given up when this is dropped.
struct QueuedWaiter<'l> {
    heap: &'l Heap,
    lent: Lent<'l>,
}

impl<'l> QueuedWaiter<'l> {
    fn take(queue: &'l WaitQueue) -> Result<Self> {
        let heap = queue.0.heap();
        let lent = heap.lend_idle_waiter()?;
        lent.waiter().asleep.store(0, Ordering::Relaxed);
        heap.transact(|tx| {
            join(tx, queue.0.off(), lent.off());
            Ok(())
        })?;
        Ok(Self { heap, lent })
    }

    fn is_notified(&self) -> bool {
        self.lent.waiter().wait_state.load(Ordering::Acquire) == wait_state::NOTIFIED
    }

    /// Sleeps until it is called. If it ends in another way, it is in the line no longer.
    fn sleep(
        &self,
        deadline: Deadline,
        announce: impl Fn() -> crate::heap::waiter::Announced<'l>,
    ) -> WaitOutcome {
        let waiter = self.lent.waiter();
        let word = self.heap.futex(waiter!(self.lent.off(), wait_state));
        let (mut announced, mut sleeper) = (None, Sleeper::new());
        let mut spins = true;
        loop {
            if self.is_notified() {
                return WaitOutcome::Notified;
            }
            let ended = if deadline.passed() {
                WaitOutcome::TimedOut
            } else if announced.is_some() && interrupted() {
                WaitOutcome::Interrupted
            } else if spins && spin::until(|| self.is_notified()) {
                return WaitOutcome::Notified;
            } else {
                announced.get_or_insert_with(&announce);
                waiter.asleep.swap(1, Ordering::SeqCst);
                fence_after_rmw();
                spins = sleeper.sleep(word, wait_state::QUEUED as u32, deadline) != Wake::TimedOut;
                if !spins {
                    // Who was to call, or was called in its place, may be dead.
                    self.heap.sweep_dead_rate_limited();
                }
                continue;
            };
            return if self.leave_queue(ended) {
                WaitOutcome::Notified
            } else {
                ended
            };
        }
    }

    /// Leaves the line; whether it was called at the last moment, and makes use of it.
    fn leave_queue(&self, ended: WaitOutcome) -> bool {
        let who = self.lent.off();
        let late = insist(|| {
            self.heap.transact(|tx| {
                let called = tx.get(waiter!(who, wait_state)) == wait_state::NOTIFIED;
                if called && ended == WaitOutcome::TimedOut {
                    return Ok((true, None));
                }
                Ok((false, abandon(tx, who)))
            })
        });
        let (called, next) = late.unwrap_or((false, None));
        next.inspect(|&next| wake(self.heap, next));
        called
    }

    /// The call was made use of: it is nobody else's any more.
    fn used(self) {
        if self.is_notified() {
            let _ = insist(|| {
                self.heap.transact(|tx| {
                    tx.set(waiter!(self.lent.off(), wait_state), wait_state::NOWHERE);
                    Ok(())
                })
            });
        }
    }
}

impl Drop for QueuedWaiter<'_> {
    fn drop(&mut self) {
        if self.lent.waiter().wait_state.load(Ordering::Relaxed) != wait_state::NOWHERE {
            self.leave_queue(WaitOutcome::Interrupted);
        }
    }
}

/// A lock that is given up while this lives.
struct Away<'l, L: Relock> {
    lock: &'l L,
    depth: u64,
}

impl<L: Relock> Away<'_, L> {
    fn come_back(self) -> Option<u32> {
        let died = self.lock.relock(self.depth);
        core::mem::forget(self);
        died
    }
}

impl<L: Relock> Drop for Away<'_, L> {
    fn drop(&mut self) {
        // Only a hook that panics gets here.
        self.lock.relock(self.depth);
    }
}

/// A line to wait in. The lock that goes with it is its users' affair.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaitQueue(Handle<WaitQueueKind>);

impl From<Handle<WaitQueueKind>> for WaitQueue {
    fn from(handle: Handle<WaitQueueKind>) -> Self {
        Self(handle)
    }
}

impl WaitQueue {
    /// A line in which nobody waits.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    /// How many wait; old news at once unless their lock is held.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.0.layout().count.load(Ordering::Acquire)
    }

    /// Waits to be called, having given up `lock`, which is taken back in any case: how the wait ended, and the process that
    /// died with the lock meanwhile (0: no longer known).
    pub(crate) fn wait(&self, lock: &impl Relock, deadline: Deadline) -> Result<(WaitOutcome, Option<u32>)> {
        let place = QueuedWaiter::take(self)?;
        let away = Away {
            depth: lock.unlock_all()?,
            lock,
        };
        let announce = || self.0.heap().waiting_for(self.0.off(), Purpose::Condition);
        let call = place.sleep(deadline, announce);
        let died = away.come_back();
        // Not before: should this process die waiting for the lock, the call goes to the next.
        place.used();
        Ok((call, died))
    }

    /// Calls the first `n` of those who wait now; how many there were.
    #[inline]
    ///
    /// # Errors
    ///
    /// [`Error::OwnerStopped`](crate::Error::OwnerStopped), if that was before the first was called.
    pub fn notify(&self, n: u64) -> Result<u64> {
        if self.waiting() == 0 {
            return Ok(0);
        }
        self.notify_some(n)
    }

    #[cold]
    fn notify_some(&self, n: u64) -> Result<u64> {
        let queue = self.0.off();
        let (mut bound, mut called) = (None, 0);
        while called < n {
            let some = self.0.heap().transact(|tx| {
                let bound = *bound.get_or_insert_with(|| tx.get(wait_queue!(queue, tickets)));
                let most = BATCH.min((n - called) as usize);
                let calls = core::array::from_fn(|i| {
                    if i < most {
                        notify_first(tx, queue, bound)
                    } else {
                        None
                    }
                });
                Ok::<[Option<Off>; BATCH], _>(calls)
            });
            let some = match some {
                Err(error) if called == 0 => return Err(error),
                // The rest is called another time, or not at all: those who were called are told already.
                Err(_) => break,
                Ok(some) => some,
            };
            let mut woken = 0;
            for who in some.into_iter().flatten() {
                wake(self.0.heap(), who);
                woken += 1;
            }
            called += woken;
            if woken < BATCH as u64 {
                break;
            }
        }
        Ok(called)
    }

    /// Owner id of this process.
    #[inline]
    pub(super) fn me(&self) -> u32 {
        self.0.me()
    }

    pub(crate) fn handle(&self) -> &Handle<WaitQueueKind> {
        &self.0
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue")
            .field("waiting", &self.waiting())
            .finish()
    }
}
