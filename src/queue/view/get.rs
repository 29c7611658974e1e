//! Getting, under the head latch, and whose an item is that was taken.

use super::super::segment::{Record, RecordRef};
use super::{Cursor, LeftBehind, RingLayout, Take, View, lasting};
use crate::error::{Error, Result};
use crate::heap::block::Block;
use crate::heap::layout::{HEAD, Off};
use crate::heap::references::Slotted;
use crate::heap::release::{Detached, Doomed};
use crate::wait::atomic::Ordering;
use core::mem::offset_of;

impl View<'_> {
    /// Shows the messages that are there to `visit` and takes those it wants. An error behind the first that was taken is
    /// none: it comes again.
    #[inline]
    pub(in crate::queue) fn try_get(
        self,
        visit: &mut impl FnMut(RecordRef<'_>, Record) -> Take,
    ) -> Result<Vec<Block>> {
        let (mut blocks, mut left) = (Vec::new(), LeftBehind::default());
        let outcome = loop {
            let outcome = self.with_head(|| self.take_some(visit, &mut blocks, &mut left));
            if left.slots_wanted == 0 {
                break outcome;
            }
            // Memory is made where nobody waits for it.
            let wanted = core::mem::take(&mut left.slots_wanted);
            if let Err(error) = self.in_time(|| self.heap.make_slots_for(wanted)) {
                break Err(error);
            }
        };
        if self.capacity() != 0 {
            self.shared.not_full.notify_one();
        }
        if !left.segments.is_empty() {
            self.free_segments(left.segments);
        }
        outcome.map(|()| blocks)
    }

    #[cold]
    fn free_segments(self, segments: Vec<Doomed>) {
        for segment in segments {
            // What cannot be freed now is some other time.
            let _ = self.heap.free_detached(segment);
        }
    }

    /// Takes what is taken under one hold of the latch.
    #[inline]
    fn take_some(
        self,
        visit: &mut impl FnMut(RecordRef<'_>, Record) -> Take,
        blocks: &mut Vec<Block>,
        left: &mut LeftBehind,
    ) -> Result<()> {
        // Asked before looking: what was put before the queue was closed is seen behind this.
        let closed = self.is_closed();
        let mut taken = 0;
        loop {
            let (place, cursor) = self.head();
            let next = |record: Record| cursor.after(record.words()).0;
            let record = place.record();
            let wants = match record {
                Record::Empty if taken > 0 => return Ok(()),
                Record::Empty => return Err(if closed { Error::ShutDown } else { Error::Empty }),
                Record::End => match self.in_time(|| self.leave_segment(place, cursor)) {
                    Ok(doomed) => {
                        left.segments.extend(doomed);
                        continue;
                    }
                    Err(_) if taken > 0 => return Ok(()),
                    Err(error) => return Err(error),
                },
                Record::Block => match self.in_time(|| self.take_block(place, next(record), left)) {
                    Ok(Some(block)) => {
                        blocks.push(block);
                        visit(place, record)
                    }
                    _ if taken > 0 => {
                        left.slots_wanted = 0;
                        return Ok(());
                    }
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(error),
                },
                Record::Inline(_) => {
                    let wants = visit(place, record);
                    self.claim(next(record));
                    wants
                }
            };
            taken += 1;
            if let Take::Last = wants {
                return Ok(());
            }
        }
    }

    /// Takes the block here; `None` where this process has no slots for it and the handles in it, and `left` says how many are
    /// wanted: who has the message must be able to decode it.
    fn take_block(self, place: RecordRef<'_>, next: u64, left: &mut LeftBehind) -> Result<Option<Block>> {
        let handles = left.handles + self.heap.slots_for_carried(place.target())?;
        let block = Block::take_into_spare(lasting(), 1 + handles, |tx| {
            tx.set(self.field(offset_of!(RingLayout, taken)), next);
            if self.tally != 0 {
                tx.add(self.tally, 1);
            }
            Ok(Some(place.target()))
        })?;
        Ok(match block {
            Slotted::Done(block) => {
                left.handles = handles;
                Some(block)
            }
            Slotted::Nothing | Slotted::NoSlot => {
                left.slots_wanted = 1 + handles;
                None
            }
        })
    }

    /// Goes on to the next segment; the old one is to be freed.
    #[cold]
    pub(super) fn leave_segment(self, place: RecordRef<'_>, cursor: Cursor) -> Result<Option<Doomed>> {
        let next = place.target();
        let detached = self.heap.detach(|tx| {
            tx.set(self.field(offset_of!(RingLayout, head_segment)), next);
            tx.set(self.field(offset_of!(RingLayout, taken)), cursor.rewound().0);
            let own = place.segment == self.first_segment();
            Ok((!own).then(|| place.segment - HEAD))
        })?;
        Ok(match detached {
            Detached::Last(doomed) => Some(doomed),
            Detached::Nothing | Detached::Shared => None,
        })
    }

    // ---- whose item it is ----

    /// From now on, deaths of consumers with unfinished items are noted.
    pub(in crate::queue) fn track_consumers(self) {
        self.shared.tracked.store(1, Ordering::Release);
    }

    /// Moves the head cursor behind an inline message, and notes where that is watched that this process has it.
    #[inline]
    fn claim(self, next: u64) {
        let shared = self.shared;
        if self.tally == 0 {
            shared.taken.store(next, Ordering::Release);
            return;
        }
        let tally = self.heap.word(self.tally).load(Ordering::Relaxed);
        shared.claim_tally.store(tally + 1, Ordering::Relaxed);
        shared.claim_cursor.store(next, Ordering::Relaxed);
        shared.claim_at.store(self.tally, Ordering::Release);
        shared.taken.store(next, Ordering::Release);
        self.finish_claim();
    }

    /// Writes the tally of a message that was taken. The cursor says whether it was.
    pub(super) fn finish_claim(self) {
        let shared = self.shared;
        let at = shared.claim_at.load(Ordering::Acquire);
        if at != 0 {
            if shared.taken.load(Ordering::Relaxed) == shared.claim_cursor.load(Ordering::Relaxed) {
                let tally = shared.claim_tally.load(Ordering::Relaxed);
                self.heap.word(at).store(tally, Ordering::Release);
            }
            shared.claim_at.store(0, Ordering::Release);
        }
    }

    /// Counts a message as done, and where that is watched no longer as this process's.
    pub(in crate::queue) fn finish(self) -> Result<()> {
        if self.tracks_consumers() {
            return self.finish_tracked();
        }
        let done = &self.shared.done;
        let mut before = done.load(Ordering::Relaxed);
        loop {
            let next = self.one_more_done(before)?;
            match done.compare_exchange(before, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => before = now,
            }
        }
    }

    fn finish_tracked(self) -> Result<()> {
        self.with_head(|| {
            self.heap.transact(|tx| {
                let done = self.field(offset_of!(RingLayout, done));
                tx.set(done, self.one_more_done(tx.get(done))?);
                if self.tally != 0 {
                    tx.set(self.tally, tx.get(self.tally).saturating_sub(1));
                }
                Ok(())
            })
        })
    }

    /// The count of messages done behind `done`, if there is one that is not.
    fn one_more_done(self, done: u64) -> Result<u64> {
        // Counted now: others may have put and finished more since anybody last looked.
        let (_, put) = self.counts();
        if put.since(Cursor(done)) == 0 {
            return Err(Error::TooManyTasksDone);
        }
        Ok(Cursor(done).after(0).0)
    }

    /// The items that a dead consumer had: from its tally to the queue's count of those lost.
    pub(super) fn lose(self, tally: Off) -> Result<()> {
        self.with_head(|| {
            self.heap.transact(|tx| {
                tx.add(
                    self.field(offset_of!(RingLayout, lost)),
                    tx.get(tally).cast_signed(),
                );
                tx.set(tally, 0);
                Ok(())
            })
        })
    }
}
