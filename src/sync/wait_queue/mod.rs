//! The queue of a condition: threads that wait to be notified, first come first served. The protocol is in
//! ../README.md.

mod list;
mod sleep;

pub(crate) use list::CONDITION;
pub(super) use list::{abandon, wake};

use super::lock::Relock;
use crate::codec::Handle;
use crate::error::Result;
use crate::heap::layout::Off;
use crate::heap::waiter::Purpose;
use crate::os::clock::Deadline;
use core::fmt;
use list::{WaitQueueKind, notify_first, wait_queue};
use serde::{Deserialize, Serialize};
use sleep::QueuedWaiter;

/// The number of records that one transaction notifies.
const BATCH: usize = 16;

/// How a wait in a queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// It was notified.
    Notified,
    /// The deadline came first.
    TimedOut,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended it.
    Interrupted,
}

/// A lock that is released while this lives.
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
        // This happens only if a hook panics.
        self.lock.relock(self.depth);
    }
}

/// A queue to wait in. The lock that goes with it is the users' affair.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaitQueue(Handle<WaitQueueKind>);

impl From<Handle<WaitQueueKind>> for WaitQueue {
    fn from(handle: Handle<WaitQueueKind>) -> Self {
        Self(handle)
    }
}

impl WaitQueue {
    /// Makes an empty wait queue.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the system said when the program's shared memory
    /// was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    /// Returns the number of waiting threads. Unless their lock is held, it may be out of date when you read it.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.0.layout().waiting()
    }

    /// Releases `lock`, waits to be notified, and takes `lock` again in any case. Returns how the wait ended, and the
    /// pid of a process that died with the lock meanwhile (0: no longer known).
    pub(crate) fn wait(&self, lock: &impl Relock, deadline: Deadline) -> Result<(WaitOutcome, Option<u32>)> {
        let place = QueuedWaiter::take(self)?;
        let away = Away {
            depth: lock.unlock_all()?,
            lock,
        };
        let announce = || self.0.heap().waiting_for(self.0.off(), Purpose::Condition);
        let call = place.sleep(deadline, announce);
        let died = away.come_back();
        // Not before: if this process dies while it waits for the lock, the notification has to go to the next record.
        place.used();
        Ok((call, died))
    }

    /// Notifies the first `n` of the threads that wait now. Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`Error::OwnerStopped`](crate::Error::OwnerStopped), if none was notified before.
    #[inline]
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
                // Those that were notified have been woken already. The rest is not notified by this call.
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

    /// Returns the owner id of this process.
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
