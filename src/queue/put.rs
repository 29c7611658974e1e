//! Putting, under the tail lock.

use super::kind::lasting;
use super::layout::{BATCH, Cursor, RingLayout};
use super::refused::Refused;
use super::segment::{END_WORDS, Record, RecordRef};
use super::view::View;
use crate::error::Result;
use crate::heap::block::Block;
use crate::heap::internal::until;
use crate::heap::layout::{CHUNK, HEAD};
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use core::mem::{ManuallyDrop, offset_of};

/// A message, or several, to be put.
pub(crate) enum OutgoingMessage<'b> {
    /// At most [`INLINE`](super::segment::INLINE) bytes.
    Bytes(&'b [u8]),
    /// A block; `None` once it was put.
    Block(Option<Block>),
    /// Messages of at most [`INLINE`](super::segment::INLINE) bytes, one after the other in `bytes`, with the end of
    /// each in `ends`. The first `put` of them were put.
    Many {
        bytes: &'b [u8],
        ends: &'b [usize],
        put: usize,
    },
}

impl OutgoingMessage<'_> {
    /// Returns true if some of several messages are left to be put.
    #[inline]
    fn is_left(&self) -> bool {
        matches!(self, Self::Many { ends, put, .. } if *put < ends.len())
    }
}

/// The next segment of a producer. It is made while no lock is held.
#[derive(Default)]
struct Spare {
    block: Option<Block>,
    /// Set if a segment was needed and `block` was `None`.
    wanted: bool,
}

impl<'h> View<'h> {
    /// Puts as many of the messages as there is room for. Returns `Full` only if some are left to be put.
    #[inline]
    pub(super) fn try_put(
        &self,
        message: &mut OutgoingMessage<'_>,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        loop {
            // No block is put into it here, so there is nothing to drop.
            let mut spare = ManuallyDrop::new(Spare::default());
            let mut answer = self.put_batch(message, &mut spare, deadline);
            if spare.wanted {
                answer = self.put_with_segment(message, deadline);
            }
            // Also if the queue got full on the way: consumers must see what was put.
            if self.layout.not_empty.notify(1) {
                self.tell_registered();
            }
            if answer.is_err() || !message.is_left() {
                return answer;
            }
        }
    }

    /// Puts what does not fit into the segment. The next segment is made while no lock is held.
    #[cold]
    #[inline(never)]
    fn put_with_segment(&self, message: &mut OutgoingMessage<'_>, deadline: Deadline) -> Result<(), Refused> {
        let mut spare = Spare::default();
        loop {
            let block = until(deadline, || self.new_segment()).map_err(Refused::Failed)?;
            (spare.block, spare.wanted) = (Some(block), false);
            let answer = self.put_batch(message, &mut spare, deadline);
            if !spare.wanted {
                return answer;
            }
        }
    }

    /// Puts what is put under one hold of the lock. Sets `spare.wanted` if it needs a segment and has none.
    #[inline]
    fn put_batch(
        &self,
        message: &mut OutgoingMessage<'_>,
        spare: &mut Spare,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let _guard = self.lock_tail(Some(deadline)).map_err(Refused::Failed)?;
        match message {
            OutgoingMessage::Bytes(bytes) => self.put_inline(bytes, spare, deadline),
            OutgoingMessage::Block(block) => self.put_block(block, spare, deadline),
            OutgoingMessage::Many { bytes, ends, put } => {
                for _ in 0..BATCH {
                    let Some(&end) = ends.get(*put) else { break };
                    let start = put.checked_sub(1).map_or(0, |before| ends[before]);
                    self.put_inline(&bytes[start..end], spare, deadline)?;
                    *put += 1;
                }
                Ok(())
            }
        }
    }

    /// Returns the place of a record of `words` words, if it may be put.
    #[inline]
    fn room(
        &self,
        words: u64,
        spare: &mut Spare,
        deadline: Deadline,
    ) -> Result<(RecordRef<'h>, Cursor), Refused> {
        let (place, cursor) = self.tail();
        if self.layout.closed.load(Ordering::Relaxed) != 0 {
            return Err(Refused::ShutDown);
        }
        let capacity = self.capacity();
        let is_left = |taken| capacity == 0 || cursor.since(Cursor(taken)) < capacity;
        if !is_left(self.layout.seen_taken.load(Ordering::Relaxed)) {
            let taken = self.layout.taken.load(Ordering::Acquire);
            self.layout.seen_taken.store(taken, Ordering::Relaxed);
            if !is_left(taken) {
                return Err(Refused::Full);
            }
        }
        if place.word + words + END_WORDS <= self.words(place.segment) {
            return Ok((place, cursor));
        }
        self.add_segment(place, cursor, spare, deadline)?;
        Ok(self.tail())
    }

    #[inline]
    fn put_inline(&self, bytes: &[u8], spare: &mut Spare, deadline: Deadline) -> Result<(), Refused> {
        let record = Record::Inline(bytes.len());
        let (place, cursor) = self.room(record.words(), spare, deadline)?;
        place.write(bytes);
        self.layout
            .tail
            .store(cursor.after(record.words()).0, Ordering::Release);
        Ok(())
    }

    fn put_block(
        &self,
        block: &mut Option<Block>,
        spare: &mut Spare,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let Some(given) = block.as_ref() else {
            return Ok(());
        };
        let (place, cursor) = self.room(Record::Block.words(), spare, deadline)?;
        self.heap.word(place.off() + 16).store(0, Ordering::Relaxed);
        until(deadline, || {
            given.give(|tx| {
                tx.set(place.off() + 8, given.off());
                tx.set(place.off(), Record::Block.header());
                tx.set(
                    self.field(offset_of!(RingLayout, tail)),
                    cursor.after(Record::Block.words()).0,
                );
            })
        })
        .map_err(Refused::Failed)?;
        if let Some(block) = block.take() {
            block.given();
        }
        Ok(())
    }

    /// Makes memory for another segment.
    #[cold]
    fn new_segment(&self) -> Result<Block> {
        let block = Block::new(lasting(), CHUNK - HEAD, 0)?;
        self.heap.word(block.off() + HEAD).store(0, Ordering::Relaxed);
        Ok(block)
    }

    /// Appends a new segment after the one that is full.
    #[cold]
    fn add_segment(
        &self,
        place: RecordRef<'_>,
        cursor: Cursor,
        spare: &mut Spare,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let Some(block) = spare.block.as_ref() else {
            spare.wanted = true;
            // The queue is not full: `try_put` makes a segment and tries again.
            return Err(Refused::Full);
        };
        let segment = block.off() + HEAD;
        until(deadline, || {
            block.give(|tx| {
                tx.set(place.off() + 8, segment);
                tx.set(place.off(), Record::End.header());
                tx.set(self.field(offset_of!(RingLayout, tail_segment)), segment);
                tx.set(self.field(offset_of!(RingLayout, tail)), cursor.rewound().0);
            })
        })
        .map_err(Refused::Failed)?;
        if let Some(block) = spare.block.take() {
            block.given();
        }
        Ok(())
    }
}
