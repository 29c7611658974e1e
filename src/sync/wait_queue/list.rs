//! The list of waiting threads' records in shared memory, and what its transactions do.

use crate::codec::SharedKind;
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::tx::Tx;
use crate::heap::waiter::{wait_state, waiter};
use crate::wait::atomic::{AtomicU64, Ordering, fence_after_rmw};

/// A wait queue in shared memory. Only transactions change it.
#[repr(C, align(64))]
pub(crate) struct WaitQueueLayout {
    head: Head,
    /// The records of the first and of the last waiting thread.
    first: AtomicU64,
    last: AtomicU64,
    /// The number of waiting threads.
    count: AtomicU64,
    /// The number of threads that have ever waited: the ticket of the next one.
    pub(super) tickets: AtomicU64,
}

// SAFETY: repr(C) and atomics only.
#[allow(unsafe_code)]
unsafe impl SharedLayout for WaitQueueLayout {}

impl WaitQueueLayout {
    /// Returns the number of waiting threads.
    #[inline]
    pub(super) fn waiting(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// Returns the offset of a field of the wait queue at `off`.
macro_rules! wait_queue {
    ($off:expr, $field:ident) => {
        $off + core::mem::offset_of!($crate::sync::wait_queue::list::WaitQueueLayout, $field) as u64
    };
}
pub(super) use wait_queue;

/// The kind of every wait queue.
pub(crate) const CONDITION: ObjectKind = ObjectKind {
    number: 6,
    name: "condition",
    // The records of a dead process's threads are cleared up one by one: see `waiter.rs`.
    on_holder_death: |_, _, _, _| Ok(()),
    clear: |_, _| Ok(()),
    describe: |heap, off| {
        let waiting = heap.shared::<WaitQueueLayout>(off).count.load(Ordering::Relaxed);
        Facts::of([("waiting", waiting)])
    },
};

/// Names the kind for [`Handle`](crate::codec::Handle).
pub(crate) enum WaitQueueKind {}

impl SharedKind for WaitQueueKind {
    type Layout = WaitQueueLayout;
    const KIND: &'static ObjectKind = &CONDITION;
}

/// Puts the record at `who` at the end of the queue.
pub(super) fn join(tx: &mut Tx<'_>, queue: Off, who: Off) {
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

/// Takes the record at `who` out of the queue.
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

/// Notifies the first record in the queue, if its ticket is below `bound`. Returns the record, whose thread is to be
/// woken.
pub(super) fn notify_first(tx: &mut Tx<'_>, queue: Off, bound: u64) -> Option<Off> {
    let first = tx.get(wait_queue!(queue, first));
    if first == 0 || tx.get(waiter!(first, ticket)) >= bound {
        return None;
    }
    leave(tx, queue, first);
    tx.set(waiter!(first, wait_state), wait_state::NOTIFIED);
    tx.set(waiter!(first, ticket), bound);
    Some(first)
}

/// Takes a record out of the queue, or takes its notification away, because its thread makes no use of it. Returns
/// the record to be woken in its place.
pub(in crate::sync) fn abandon(tx: &mut Tx<'_>, who: Off) -> Option<Off> {
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

/// Wakes the thread whose record a transaction has notified. If the record is gone by now, some thread wakes for
/// nothing.
pub(in crate::sync) fn wake(heap: &Heap, who: Off) {
    fence_after_rmw();
    if heap.futex(waiter!(who, asleep)).load(Ordering::Relaxed) != 0 {
        heap.futex(waiter!(who, wait_state)).futex_wake(1);
    }
}
