//! Getting, under the head lock.

use super::kind::lasting;
use super::layout::{BATCH, Cursor, RingLayout};
use super::segment::{Record, RecordRef};
use super::view::View;
use crate::error::{Error, Result};
use crate::heap::block::Block;
use crate::heap::internal::until;
use crate::heap::layout::{HEAD, Off};
use crate::heap::references::Slotted;
use crate::heap::release::{Detached, Doomed};
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use core::mem::offset_of;

/// A message that was taken.
pub(crate) enum Got {
    /// A message of this many bytes, appended to the buffer.
    Inline(usize),
    Block(Block),
}

/// Where messages go that are taken.
pub(super) trait Sink {
    /// Returns the buffer that the bytes of an inline message are appended to.
    fn buffer(&mut self) -> &mut Vec<u8>;
    /// Receives a message that was taken. Returns true if the sink wants another one.
    fn push(&mut self, got: Got) -> bool;
}

/// A sink for one message.
pub(super) struct One<'b> {
    pub buffer: &'b mut Vec<u8>,
    pub got: Option<Got>,
}

impl Sink for One<'_> {
    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    #[inline]
    fn push(&mut self, got: Got) -> bool {
        self.got = Some(got);
        false
    }
}

/// A sink for up to `most` messages.
pub(super) struct Many<'b> {
    pub buffer: &'b mut Vec<u8>,
    pub got: Vec<Got>,
    pub most: usize,
}

impl Sink for Many<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    fn push(&mut self, got: Got) -> bool {
        self.got.push(got);
        self.got.len() < self.most.min(BATCH)
    }
}

/// The consumer that takes messages.
#[derive(Clone, Copy)]
pub(super) struct Consumer {
    /// Where its tally of unfinished messages is; 0 if the queue does not track consumers.
    pub tally: Off,
    /// The deadline of its call.
    pub deadline: Deadline,
}

/// What a consumer has to do once it does not hold the lock any more.
#[derive(Default)]
struct LeftBehind {
    /// Segments to free.
    segments: Vec<Doomed>,
    /// Slots that this process needs for the handles in the blocks that were taken.
    handles: u64,
    /// Slots that were needed for a block, for the handles in it and for those handles; 0 if there were enough.
    slots_wanted: u64,
}

impl View<'_> {
    /// Takes messages that are there, as long as `sink` wants more.
    ///
    /// An error after the first message is not returned: the next call meets it again.
    #[inline]
    pub(super) fn try_get(&self, sink: &mut impl Sink, consumer: Consumer) -> Result<()> {
        let mut left = LeftBehind::default();
        let answer = loop {
            let answer = self.take_batch(sink, &mut left, consumer);
            if left.slots_wanted == 0 {
                break answer;
            }
            // Memory is made while no lock is held.
            let wanted = core::mem::take(&mut left.slots_wanted);
            if let Err(error) = until(consumer.deadline, || self.heap.make_slots_for(wanted)) {
                break Err(error);
            }
        };
        if self.capacity() != 0 {
            self.layout.not_full.notify_one();
        }
        if !left.segments.is_empty() {
            self.free_segments(left.segments);
        }
        answer
    }

    #[cold]
    fn free_segments(&self, segments: Vec<Doomed>) {
        for segment in segments {
            // A segment that cannot be freed now is freed later: its slot keeps it.
            let _ = self.heap.free_detached(segment);
        }
    }

    /// Takes what is taken under one hold of the lock.
    #[inline]
    fn take_batch(&self, sink: &mut impl Sink, left: &mut LeftBehind, consumer: Consumer) -> Result<()> {
        let _guard = self.lock_head(Some(consumer.deadline))?;
        // Read before the header: what was put before the queue was shut down is seen after this.
        let closed = self.is_closed();
        let mut is_first = true;
        loop {
            let (place, cursor) = self.head();
            let record = place.record();
            let next = cursor.after(record.words());
            let wants_more = match record {
                Record::Inline(len) => {
                    place.copy_to(len, sink.buffer());
                    self.claim(next, consumer.tally);
                    sink.push(Got::Inline(len))
                }
                Record::Empty if is_first => {
                    return Err(if closed { Error::ShutDown } else { Error::Empty });
                }
                Record::Empty => return Ok(()),
                Record::End => match until(consumer.deadline, || self.leave_segment(place, cursor)) {
                    Ok(doomed) => {
                        left.segments.extend(doomed);
                        continue;
                    }
                    Err(error) if is_first => return Err(error),
                    Err(_) => return Ok(()),
                },
                Record::Block => match self.take_block(place, next, left, consumer) {
                    Ok(Some(block)) => sink.push(Got::Block(block)),
                    Ok(None) if is_first => return Ok(()),
                    Err(error) if is_first => return Err(error),
                    Ok(None) | Err(_) => {
                        left.slots_wanted = 0;
                        return Ok(());
                    }
                },
            };
            if !wants_more {
                return Ok(());
            }
            is_first = false;
        }
    }

    /// Takes the block at `place`, after which the head cursor is `next`.
    ///
    /// The process that has the message must be able to decode it. So if this process has too few slots for the block
    /// and for the handles in it, it takes nothing, returns `None`, and `left` tells how many slots are wanted.
    fn take_block(
        &self,
        place: RecordRef<'_>,
        next: Cursor,
        left: &mut LeftBehind,
        consumer: Consumer,
    ) -> Result<Option<Block>> {
        until(consumer.deadline, || {
            let handles = left.handles + self.heap.slots_for_carried(place.target())?;
            let block = Block::take_into_spare(lasting(), 1 + handles, |tx| {
                tx.set(self.field(offset_of!(RingLayout, taken)), next.0);
                if consumer.tally != 0 {
                    tx.add(consumer.tally, 1);
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
        })
    }

    /// Moves the head to the next segment. Returns the old one, which is to be freed.
    #[cold]
    fn leave_segment(&self, place: RecordRef<'_>, cursor: Cursor) -> Result<Option<Doomed>> {
        let next = place.target();
        let detached = self.heap.detach(|tx| {
            tx.set(self.field(offset_of!(RingLayout, head_segment)), next);
            tx.set(self.field(offset_of!(RingLayout, taken)), cursor.rewound().0);
            let is_first = place.segment == self.first_segment();
            Ok((!is_first).then(|| place.segment - HEAD))
        })?;
        Ok(match detached {
            Detached::Last(doomed) => Some(doomed),
            Detached::Nothing | Detached::Shared => None,
        })
    }

    /// Takes out and drops every message. Returns how many there were.
    pub(super) fn discard(&self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let mut left = None;
            let taken = self.drop_first(&mut left);
            if let Some(doomed) = left {
                self.heap.free_detached(doomed)?;
            }
            match taken? {
                Some(messages) => dropped += messages,
                None => return Ok(dropped),
            }
        }
    }

    /// Takes out the first message, or leaves the first segment. Returns the number of messages that this took out, and
    /// `None` if nothing is left.
    ///
    /// What is to be freed is put into `left`. A block needs no slot of its own here, hence no memory.
    fn drop_first(&self, left: &mut Option<Doomed>) -> Result<Option<u64>> {
        let _guard = self.lock_head(None)?;
        let (place, cursor) = self.head();
        let record = place.record();
        let next = cursor.after(record.words()).0;
        match record {
            Record::Empty => return Ok(None),
            Record::End => {
                *left = self.leave_segment(place, cursor)?;
                return Ok(Some(0));
            }
            Record::Inline(_) => self.layout.taken.store(next, Ordering::Release),
            Record::Block => {
                let detached = self.heap.detach(|tx| {
                    tx.set(self.field(offset_of!(RingLayout, taken)), next);
                    Ok(Some(place.target()))
                })?;
                if let Detached::Last(doomed) = detached {
                    *left = Some(doomed);
                }
            }
        }
        Ok(Some(1))
    }
}
