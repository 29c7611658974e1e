//! What one thread does in a wait queue: it joins, sleeps, and leaves.

use super::list::{abandon, join, wake};
use super::{WaitOutcome, WaitQueue};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::internal::insist;
use crate::heap::waiter::{Announced, Lent, wait_state, waiter};
use crate::os::clock::Deadline;
use crate::os::futex::Wake;
use crate::wait::atomic::{Ordering, fence_after_rmw};
use crate::wait::interrupt::interrupted;
use crate::wait::sleeper::Sleeper;
use crate::wait::spin;

/// A place in a wait queue, given up when this is dropped.
pub(super) struct QueuedWaiter<'l> {
    heap: &'l Heap,
    lent: Lent<'l>,
}

impl<'l> QueuedWaiter<'l> {
    pub(super) fn take(queue: &'l WaitQueue) -> Result<Self> {
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

    /// Sleeps until the record is notified. If the sleep ends in another way, the record has left the queue.
    pub(super) fn sleep(&self, deadline: Deadline, announce: impl Fn() -> Announced<'l>) -> WaitOutcome {
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
                    // The process that was to notify, or that was notified instead, may be dead.
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

    /// Leaves the queue. Returns true if the record was notified at the last moment, and the thread makes use of that.
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

    /// Uses the notification up: from now on it is not passed on.
    pub(super) fn used(self) {
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
