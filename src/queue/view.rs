//! A ring as seen through its offset alone: what can be asked without a lock.

use super::layout::{Cursor, FIRST_WORDS, MAX_CAPACITY, RingLayout, SEGMENT_WORDS};
use super::segment::{Record, RecordRef};
use crate::heap::Heap;
use crate::heap::layout::Off;
use crate::wait::atomic::Ordering;
use core::mem::offset_of;

/// A ring without a reference of its own: processes that clear up after a dead one use it, too.
#[derive(Clone, Copy)]
pub(crate) struct View<'h> {
    pub(super) heap: &'h Heap,
    pub(super) off: Off,
    pub(super) layout: &'h RingLayout,
}

impl<'h> View<'h> {
    pub(super) fn of(heap: &'h Heap, off: Off) -> Self {
        Self {
            heap,
            off,
            layout: heap.shared(off),
        }
    }

    /// Makes a new ring begin in its own first segment.
    pub(super) fn begin(&self, capacity: u64) {
        let (layout, first) = (self.layout, self.first_segment());
        layout.capacity.store(capacity, Ordering::Relaxed);
        layout.head_segment.store(first, Ordering::Relaxed);
        layout.tail_segment.store(first, Ordering::Release);
    }

    // ---- places ----

    /// Returns the offset of a field, for transactions.
    pub(super) fn field(&self, field: usize) -> Off {
        self.off + field as Off
    }

    /// Returns the offset of the word with the producers' token.
    pub(super) fn producers(&self) -> Off {
        self.field(offset_of!(RingLayout, producers))
    }

    /// Returns the offset of the word where the list of registrations begins.
    pub(crate) fn registrations(&self) -> Off {
        self.field(offset_of!(RingLayout, registrations))
    }

    pub(super) fn first_segment(&self) -> Off {
        self.off + size_of::<RingLayout>() as Off
    }

    /// Returns the number of words in a segment.
    pub(super) fn words(&self, segment: Off) -> u64 {
        if segment == self.first_segment() {
            FIRST_WORDS
        } else {
            SEGMENT_WORDS
        }
    }

    /// Returns where the next message goes. Only the holder of the tail lock may rely on it.
    #[inline]
    pub(super) fn tail(&self) -> (RecordRef<'h>, Cursor) {
        let cursor = Cursor(self.layout.tail.load(Ordering::Relaxed));
        let segment = self.layout.tail_segment.load(Ordering::Acquire);
        (self.record_at(segment, cursor), cursor)
    }

    /// Returns where the first message is. Only the holder of the head lock may rely on it.
    #[inline]
    pub(super) fn head(&self) -> (RecordRef<'h>, Cursor) {
        let cursor = Cursor(self.layout.taken.load(Ordering::Relaxed));
        let segment = self.layout.head_segment.load(Ordering::Acquire);
        (self.record_at(segment, cursor), cursor)
    }

    #[inline]
    fn record_at(&self, segment: Off, cursor: Cursor) -> RecordRef<'h> {
        RecordRef {
            heap: self.heap,
            segment,
            word: cursor.word(),
        }
    }

    // ---- questions ----

    /// Returns true if there seems to be a message, or an end of a segment or of the queue.
    ///
    /// This is for spinning: it reads what the consumer reads next anyway, and leaves the producers' cache line to the
    /// producers. While other consumers are at work the answer may be wrong.
    #[inline]
    pub(crate) fn may_have_message(&self) -> bool {
        self.head().0.record() != Record::Empty || self.layout.closed.load(Ordering::Relaxed) != 0
    }

    /// Returns the cursors of what was taken and of what was put.
    ///
    /// A message can be taken after its header was stored and before its producer stores the tail cursor. So the count
    /// of messages taken may be one ahead; then it is the count of messages put, too.
    pub(super) fn counts(&self) -> (Cursor, Cursor) {
        // In the other order, consumers could get further ahead between the two loads.
        let taken = Cursor(self.layout.taken.load(Ordering::Acquire));
        let put = Cursor(self.layout.tail.load(Ordering::Acquire));
        if put.since(taken) > MAX_CAPACITY {
            (taken, taken)
        } else {
            (taken, put)
        }
    }

    /// Returns the number of messages, without the message of a producer that has just died: see [`len`](Self::len).
    pub(super) fn len_hint(&self) -> u64 {
        let (taken, put) = self.counts();
        put.since(taken)
    }

    /// Returns the number of messages. With concurrent producers or consumers the value may be stale at once.
    pub(crate) fn len(&self) -> u64 {
        self.repair_if_dead();
        self.len_hint()
    }

    /// Returns true if a consumer may go on. Before it sleeps it looks for the message itself, so a hint is enough.
    pub(super) fn may_be_readable(&self) -> bool {
        self.len_hint() > 0 || self.is_closed()
    }

    /// Returns true if a consumer can go on, also if the last message is that of a producer that has just died.
    pub(super) fn is_readable(&self) -> bool {
        self.len() > 0 || self.is_closed()
    }

    /// Returns true if a producer can go on.
    pub(super) fn is_writable(&self) -> bool {
        !self.is_full() || self.is_closed()
    }

    pub(crate) fn is_full(&self) -> bool {
        let capacity = self.capacity();
        capacity != 0 && self.len_hint() >= capacity
    }

    /// Returns the bound, 0 if there is none.
    pub(crate) fn capacity(&self) -> u64 {
        self.layout.capacity.load(Ordering::Relaxed)
    }

    /// Returns true once the queue is shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.layout.closed.load(Ordering::Acquire) != 0
    }

    /// Has every thread that waits here look for dead processes from now on: such a death may be what it waits for.
    pub(crate) fn set_polls_for_dead(&self) {
        self.layout.polls_for_dead.store(1, Ordering::Release);
    }

    pub(super) fn polls_for_dead(&self) -> bool {
        self.layout.polls_for_dead.load(Ordering::Relaxed) != 0
    }

    pub(super) fn tracks_consumers(&self) -> bool {
        self.layout.tracked.load(Ordering::Acquire) != 0
    }

    /// Returns the number of messages that were put and are not finished.
    pub(crate) fn unfinished(&self) -> u64 {
        let done = Cursor(self.layout.done.load(Ordering::Acquire));
        let (_, put) = self.counts();
        // Another consumer may have finished a message since.
        match put.since(done) {
            n if n > MAX_CAPACITY => 0,
            n => n,
        }
    }

    /// Returns the number of messages that consumers died with.
    pub(super) fn lost(&self) -> u64 {
        self.layout.lost.load(Ordering::Acquire)
    }
}
