//! The two locks of a ring, and the repair of what a dead holder left half done.

use super::segment::Record;
use super::view::View;
use crate::error::Result;
use crate::heap::internal::{Rank, unlock_internal};
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use crate::wait::robust_lock::RobustLock;

/// One of the two locks of a ring, held. Dropping it unlocks, also in a panic.
pub(super) struct EndGuard<'h>(&'h RobustLock);

impl Drop for EndGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        unlock_internal(self.0, Rank::Object);
    }
}

impl<'h> View<'h> {
    /// Takes the producers' lock, and repairs what a dead producer left.
    ///
    /// `deadline` is that of the user's call that this is for. Without one, the limit of the caller holds.
    #[inline]
    pub(super) fn lock_tail(&self, deadline: Option<Deadline>) -> Result<EndGuard<'h>> {
        self.lock(&self.layout.tail_lock, deadline, Self::repair_tail)
    }

    /// Takes the consumers' lock, and repairs what a dead consumer left. For `deadline` see
    /// [`lock_tail`](Self::lock_tail).
    #[inline]
    pub(super) fn lock_head(&self, deadline: Option<Deadline>) -> Result<EndGuard<'h>> {
        // The cursor is one word and the end of a segment a transaction: nothing but a claim can be half done.
        self.lock(&self.layout.head_lock, deadline, Self::finish_claim)
    }

    #[inline]
    fn lock(
        &self,
        lock: &'h RobustLock,
        deadline: Option<Deadline>,
        repair: fn(&Self),
    ) -> Result<EndGuard<'h>> {
        let owner_died = match deadline {
            Some(deadline) => self.heap.lock_internal_until(lock, Rank::Object, deadline)?,
            None => self.heap.lock_internal(lock, Rank::Object)?,
        };
        if owner_died {
            return self.take_over(lock, repair);
        }
        Ok(EndGuard(lock))
    }

    /// Carries out a transaction that a dead process had decided, and then repairs what the lock protects.
    #[cold]
    #[inline(never)]
    fn take_over(&self, lock: &'h RobustLock, repair: fn(&Self)) -> Result<EndGuard<'h>> {
        if let Err(error) = self.heap.replay_journal() {
            // The next owner repairs.
            lock.mark_owner_dead(self.heap.me());
            Rank::Object.leave();
            return Err(error);
        }
        let guard = EndGuard(lock);
        repair(self);
        Ok(guard)
    }

    /// Moves the tail cursor after a message whose producer died before it could do so: the message counts.
    fn repair_tail(&self) {
        let (place, cursor) = self.tail();
        if let record @ Record::Inline(_) = place.record() {
            self.layout
                .tail
                .store(cursor.after(record.words()).0, Ordering::Release);
        }
    }

    /// Counts the message of a producer that died between the message's header and the tail cursor.
    pub(super) fn repair_if_dead(&self) {
        let owner = self.layout.tail_lock.owner();
        if owner != 0 && !self.heap.alive(owner) {
            // Taking the lock repairs. If this process cannot take it, the next producer does.
            drop(self.lock_tail(None));
        }
    }
}
