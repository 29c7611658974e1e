//! Which consumer has a message that was taken, and which messages are finished.
//!
//! A tracked queue keeps, beside each process's reference to it, a *tally*: how many messages the process has taken and
//! not finished. README.md beside this file tells how the tally changes together with the head cursor.

use super::layout::{Cursor, RingLayout};
use super::view::View;
use crate::error::{Error, Result};
use crate::heap::layout::Off;
use crate::wait::atomic::Ordering;
use core::mem::offset_of;

impl View<'_> {
    /// Has the queue count from now on what its consumers have taken and not finished.
    pub(crate) fn track_consumers(&self) {
        self.layout.tracked.store(1, Ordering::Release);
    }

    /// Moves the head cursor to `next`, after an inline message, and counts the message in the tally at `tally` (0:
    /// none).
    #[inline]
    pub(super) fn claim(&self, next: Cursor, tally: Off) {
        let layout = self.layout;
        if tally == 0 {
            layout.taken.store(next.0, Ordering::Release);
            return;
        }
        let counted = self.heap.word(tally).load(Ordering::Relaxed);
        layout.claim_tally.store(counted + 1, Ordering::Relaxed);
        layout.claim_cursor.store(next.0, Ordering::Relaxed);
        layout.claim_at.store(tally, Ordering::Release);
        layout.taken.store(next.0, Ordering::Release);
        self.finish_claim();
    }

    /// Writes the tally of a claim, if there is one and its message was taken: the cursor says so.
    pub(super) fn finish_claim(&self) {
        let layout = self.layout;
        let at = layout.claim_at.load(Ordering::Acquire);
        if at != 0 {
            if layout.taken.load(Ordering::Relaxed) == layout.claim_cursor.load(Ordering::Relaxed) {
                let tally = layout.claim_tally.load(Ordering::Relaxed);
                self.heap.word(at).store(tally, Ordering::Release);
            }
            layout.claim_at.store(0, Ordering::Release);
        }
    }

    /// Counts a message as finished, and takes it off the tally at `tally` (0: none).
    pub(super) fn finish(&self, tally: Off) -> Result<()> {
        if self.tracks_consumers() {
            return self.finish_tracked(tally);
        }
        let done = &self.layout.done;
        let mut before = done.load(Ordering::Relaxed);
        loop {
            let next = self.one_more_done(before)?;
            match done.compare_exchange(before, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => before = now,
            }
        }
    }

    fn finish_tracked(&self, tally: Off) -> Result<()> {
        let _guard = self.lock_head(None)?;
        self.heap.transact(|tx| {
            let done = self.field(offset_of!(RingLayout, done));
            tx.set(done, self.one_more_done(tx.get(done))?);
            if tally != 0 {
                tx.set(tally, tx.get(tally).saturating_sub(1));
            }
            Ok(())
        })
    }

    /// Returns what follows `done`, a count of finished messages, if there is a message that is not finished.
    fn one_more_done(&self, done: u64) -> Result<u64> {
        // Counted now: other processes may have put and finished messages since `done` was read.
        let (_, put) = self.counts();
        if put.since(Cursor(done)) == 0 {
            return Err(Error::TooManyTasksDone);
        }
        Ok(Cursor(done).after(0).0)
    }

    /// Moves the messages that a dead consumer had from its tally to the queue's count of those lost.
    pub(super) fn lose(&self, tally: Off) -> Result<()> {
        let _guard = self.lock_head(None)?;
        self.heap.transact(|tx| {
            tx.add(
                self.field(offset_of!(RingLayout, lost)),
                tx.get(tally).cast_signed(),
            );
            tx.set(tally, 0);
            Ok(())
        })
    }
}
