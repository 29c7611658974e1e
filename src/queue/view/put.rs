//! Putting, under the tail latch.

use super::super::segment::{END_WORDS, Record, RecordRef};
use super::{BATCH, Cursor, OutgoingMessage, Refused, RingLayout, Spare, View, lasting};
use crate::error::Result;
use crate::heap::block::Block;
use crate::heap::layout::{CHUNK, HEAD};
use crate::wait::atomic::Ordering;
use core::mem::{ManuallyDrop, offset_of};

impl<'h> View<'h> {
    /// Puts what there is room for; `Full` only if something is left to be put.
    #[inline]
    pub(in crate::queue) fn try_put(self, message: &mut OutgoingMessage<'_>) -> Result<(), Refused> {
        // There is no block in it yet, so there is nothing to be dropped.
        let mut spare = ManuallyDrop::new(Spare::default());
        let mut answer = self.put_some(message, &mut spare);
        if spare.wanted {
            answer = self.put_with_segment(message);
        }
        // Also when the queue got full on the way: what was put must be seen.
        self.shared.not_empty.notify_one_and(|| self.tell_registered());
        match message {
            OutgoingMessage::Many { ends, put, .. } if answer.is_ok() && *put < ends.len() => {
                self.try_put(message)
            }
            _ => answer,
        }
    }

    /// The same for a producer that needs another segment, and makes it where nobody waits for it.
    #[cold]
    #[inline(never)]
    fn put_with_segment(self, message: &mut OutgoingMessage<'_>) -> Result<(), Refused> {
        let mut spare = Spare::default();
        loop {
            spare.block = Some(self.new_segment().map_err(Refused::Failed)?);
            spare.wanted = false;
            let answer = self.put_some(message, &mut spare);
            if !spare.wanted {
                return answer;
            }
        }
    }

    /// Puts what is put under one hold of the latch. Where it needs a segment and has none, it says so in `spare`.
    #[inline]
    fn put_some(self, message: &mut OutgoingMessage<'_>, spare: &mut Spare) -> Result<(), Refused> {
        let put = self.with_tail(|| {
            Ok(match message {
                OutgoingMessage::Bytes(bytes) => self.put_inline(bytes, spare),
                OutgoingMessage::Block(block) => self.put_block(block, spare),
                OutgoingMessage::Many { bytes, ends, put } => {
                    let mut answer = Ok(());
                    for _ in 0..BATCH {
                        let Some(&end) = ends.get(*put) else { break };
                        let start = put.checked_sub(1).map_or(0, |before| ends[before]);
                        answer = self.put_inline(&bytes[start..end], spare);
                        if answer.is_err() {
                            break;
                        }
                        *put += 1;
                    }
                    answer
                }
            })
        });
        put.unwrap_or_else(|error| Err(Refused::Failed(error)))
    }

    /// Where a record of so many words goes, if it may be put.
    #[inline]
    fn room(self, words: u64, spare: &mut Spare) -> Result<(RecordRef<'h>, Cursor), Refused> {
        let (place, cursor) = self.tail();
        if self.shared.closed.load(Ordering::Relaxed) != 0 {
            return Err(Refused::ShutDown);
        }
        let capacity = self.capacity();
        let left = |taken| capacity == 0 || cursor.since(Cursor(taken)) < capacity;
        if !left(self.shared.seen_taken.load(Ordering::Relaxed)) {
            let taken = self.shared.taken.load(Ordering::Acquire);
            self.shared.seen_taken.store(taken, Ordering::Relaxed);
            if !left(taken) {
                return Err(Refused::Full);
            }
        }
        if place.word + words + END_WORDS <= self.words(place.segment) {
            return Ok((place, cursor));
        }
        self.add_segment(place, cursor, spare)?;
        Ok(self.tail())
    }

    #[inline]
    fn put_inline(self, bytes: &[u8], spare: &mut Spare) -> Result<(), Refused> {
        let record = Record::Inline(bytes.len());
        let (place, cursor) = self.room(record.words(), spare)?;
        place.fill(bytes);
        place.publish(record);
        self.shared
            .tail
            .store(cursor.after(record.words()).0, Ordering::Release);
        Ok(())
    }

    fn put_block(self, block: &mut Option<Block>, spare: &mut Spare) -> Result<(), Refused> {
        let Some(given) = block.as_ref() else {
            return Ok(());
        };
        let (place, cursor) = self.room(Record::Block.words(), spare)?;
        self.heap.word(place.off() + 16).store(0, Ordering::Relaxed);
        let handed = self.in_time(|| {
            given.give(|tx| {
                tx.set(place.off() + 8, given.off());
                tx.set(place.off(), Record::Block.header());
                tx.set(
                    self.field(offset_of!(RingLayout, tail)),
                    cursor.after(Record::Block.words()).0,
                );
            })
        });
        handed.map_err(Refused::Failed)?;
        if let Some(block) = block.take() {
            block.given();
        }
        Ok(())
    }

    /// Memory for another segment.
    #[cold]
    fn new_segment(self) -> Result<Block> {
        let block = self.in_time(|| Block::new(lasting(), CHUNK - HEAD, 0))?;
        self.heap.word(block.off() + HEAD).store(0, Ordering::Relaxed);
        Ok(block)
    }

    /// Links a new segment behind the one that is full.
    #[cold]
    fn add_segment(self, place: RecordRef<'_>, cursor: Cursor, spare: &mut Spare) -> Result<(), Refused> {
        let Some(block) = spare.block.as_ref() else {
            spare.wanted = true;
            // It is not: see `try_put`.
            return Err(Refused::Full);
        };
        let segment = block.off() + HEAD;
        let linked = self.in_time(|| {
            block.give(|tx| {
                tx.set(place.off() + 8, segment);
                tx.set(place.off(), Record::End.header());
                tx.set(self.field(offset_of!(RingLayout, tail_segment)), segment);
                tx.set(self.field(offset_of!(RingLayout, tail)), cursor.rewound().0);
            })
        });
        linked.map_err(Refused::Failed)?;
        if let Some(block) = spare.block.take() {
            block.given();
        }
        Ok(())
    }
}
