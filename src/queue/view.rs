//! What a ring is in shared memory, and what is done to it under its latches, by those who use it and by the survivors of
//! those who died at it: here their latches and repairs, in `put.rs` and `get.rs` what is done under them. Nothing waits here but
//! for a latch.

mod get;
mod put;

use super::ring::MAX_CAPACITY;
use super::segment::{Record, RecordRef};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::heap::internal::{self, Rank, unlock_internal};
use crate::heap::layout::{CHUNK, HEAD, Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::registration::{tell, try_tell};
use crate::heap::release::{Detached, Doomed};
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::EventCount;
use crate::wait::robust_lock::RobustLock;
use core::mem::offset_of;

/// Bits of a cursor that are the word in the segment; the rest counts messages (and wraps after 10^15).
const PLACE_BITS: u32 = 14;
const PLACE: u64 = (1 << PLACE_BITS) - 1;
/// Messages put or taken under one hold of a latch.
pub(super) const BATCH: usize = 256;

/// A queue in shared memory. Each group of fields that changes together has cache lines of its own.
#[repr(C, align(64))]
pub(super) struct RingLayout {
    head: Head,
    /// 0: unbounded.
    capacity: AtomicU64,
    /// 1 once it is shut down; written under the tail latch.
    closed: AtomicU64,
    /// 1 where what consumers have taken and not finished is noted; see [`View::claim`].
    tracked: AtomicU64,
    /// 1 where whoever waits looks after the dead.
    polls_for_dead: AtomicU64,

    tail_lock: RobustLock,
    _tail_pad: u32,
    /// Where the next message goes, and how many were put: see [`Cursor`].
    tail: AtomicU64,
    tail_segment: AtomicU64,
    /// How many had been taken when a producer last looked.
    seen_taken: AtomicU64,
    _line1: [u64; 4],

    head_lock: RobustLock,
    _head_pad: u32,
    /// Where the next message is, and how many were taken.
    taken: AtomicU64,
    head_segment: AtomicU64,
    /// Of a watched queue, the message being taken: where the consumer's tally is (0: none), the tally and the cursor that
    /// go with having taken it.
    claim_at: AtomicU64,
    claim_tally: AtomicU64,
    claim_cursor: AtomicU64,
    _line2: [u64; 2],

    pub(super) not_empty: EventCount,
    pub(super) not_full: EventCount,
    pub(super) all_done: EventCount,
    _event_count_pad: u32,
    /// Messages whose work is done, counted as in a cursor.
    done: AtomicU64,
    /// Items that consumers of a watched queue died with.
    lost: AtomicU64,
    /// Where the list begins of those who watch for messages.
    registrations: AtomicU64,
    /// What ends the queue with its last producer: see `producer.rs`.
    producers: AtomicU64,
    _line3: [u64; 2],
}

// SAFETY: repr(C), atomics (latches and gates are one each) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for RingLayout {}

/// Bytes of a queue's object: what is behind [`Shared`] is its first segment.
pub(super) const OBJECT: u64 = 2048;
const FIRST_WORDS: u64 = (OBJECT - size_of::<RingLayout>() as u64) / 8;
const SEGMENT_WORDS: u64 = (CHUNK - HEAD) / 8;
const _: () = assert!(SEGMENT_WORDS <= PLACE);

/// The kind of every queue.
pub(crate) const QUEUE: ObjectKind = ObjectKind {
    number: 2,
    name: "queue",
    on_holder_death,
    clear,
    describe: |heap, off| {
        let view = View::of(heap, off);
        Facts::of([
            ("messages", view.len_hint()),
            ("capacity", view.capacity()),
            ("unfinished", view.unfinished()),
            ("shut down", u64::from(view.is_closed())),
        ])
    },
};

/// A place in the ring and the number of messages before it, in one word, so that both move together.
#[derive(Clone, Copy)]
struct Cursor(u64);

impl Cursor {
    fn word(self) -> u64 {
        self.0 & PLACE
    }
    /// Behind a message of so many words.
    fn after(self, words: u64) -> Self {
        Self((self.0 & !PLACE).wrapping_add(1 << PLACE_BITS) | (self.word() + words))
    }
    /// At the start of the next segment.
    fn rewound(self) -> Self {
        Self(self.0 & !PLACE)
    }
    /// Messages from `earlier` to here.
    fn since(self, earlier: Self) -> u64 {
        ((self.0 & !PLACE).wrapping_sub(earlier.0 & !PLACE)) >> PLACE_BITS
    }
}

/// Why a message was not put; nothing was changed.
pub(crate) enum Refused {
    ShutDown,
    Full,
    Failed(Error),
}

/// The next segment of a producer, which makes it where it does not hold the latch.
#[derive(Default)]
struct Spare {
    block: Option<Block>,
    /// It was needed, and there was none.
    wanted: bool,
}

/// What a consumer leaves behind, to be seen to where it does not hold the latch.
#[derive(Default)]
struct LeftBehind {
    /// Segments to be freed.
    segments: Vec<Doomed>,
    /// Slots for the handles in the blocks that were taken.
    handles: u64,
    /// So many slots were needed for a block and the handles in those taken, and there were fewer; 0 where there were enough.
    slots_wanted: u64,
}

/// A message to put.
pub(crate) enum OutgoingMessage<'b> {
    /// At most [`INLINE`](super::segment::INLINE) bytes.
    Bytes(&'b [u8]),
    /// `None` once it was put.
    Block(Option<Block>),
    /// Bytes one after the other, with the end of each; how many were put stands in `put`.
    Many {
        bytes: &'b [u8],
        ends: &'b [usize],
        put: usize,
    },
}

/// What a visitor wants who was shown a message: one in the ring, to copy it before it is taken, or a block that was taken.
pub(super) enum Take {
    /// The next one, too.
    More,
    /// That was enough.
    Last,
}

/// A ring without a reference of its own: survivors repair queues through it.
#[derive(Clone, Copy)]
pub(super) struct View<'h> {
    heap: &'h Heap,
    off: Off,
    pub(super) shared: &'h RingLayout,
    /// Where the consumer's tally of unfinished items is; 0 where they are not watched.
    tally: Off,
    /// The deadline of the user's call that this is for; `None` for survivors.
    deadline: Option<Deadline>,
}

/// Releases a latch also when what runs under it panics.
struct HeldLock<'l>(&'l RobustLock);

impl Drop for HeldLock<'_> {
    #[inline]
    fn drop(&mut self) {
        unlock_internal(self.0, Rank::Object);
    }
}

impl<'h> View<'h> {
    pub(super) fn of(heap: &'h Heap, off: Off) -> Self {
        Self {
            heap,
            off,
            shared: heap.shared(off),
            tally: 0,
            deadline: None,
        }
    }

    /// The same for a user's call with this deadline, which holds for latches, too.
    pub(super) fn until(self, deadline: Deadline) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// The same for a consumer whose tally is at `tally`.
    pub(super) fn with_tally_at(self, tally: Off) -> Self {
        Self { tally, ..self }
    }

    /// A new ring begins in its own first segment.
    pub(super) fn begin(self, capacity: u64) {
        let (shared, first) = (self.shared, self.first_segment());
        shared.capacity.store(capacity, Ordering::Relaxed);
        shared.head_segment.store(first, Ordering::Relaxed);
        shared.tail_segment.store(first, Ordering::Release);
    }

    fn field(self, field: usize) -> Off {
        self.off + field as Off
    }

    fn words(self, segment: Off) -> u64 {
        if segment == self.first_segment() {
            FIRST_WORDS
        } else {
            SEGMENT_WORDS
        }
    }

    fn first_segment(self) -> Off {
        self.off + size_of::<RingLayout>() as Off
    }

    /// Where it says what ends it with its last producer.
    pub(super) fn producers(self) -> Off {
        self.field(offset_of!(RingLayout, producers))
    }

    // ---- latches and repairs ----

    /// Runs `change` under `latch`; behind a dead holder, `repair` first.
    #[inline]
    fn with<T>(
        self,
        lock: &RobustLock,
        repair: impl FnOnce(),
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let owner_died = match self.deadline {
            Some(deadline) => self.heap.lock_internal_until(lock, Rank::Object, deadline)?,
            None => self.heap.lock_internal(lock, Rank::Object)?,
        };
        if owner_died && let Err(error) = self.heap.replay_journal() {
            // Whoever takes it next repairs.
            lock.mark_owner_dead(self.heap.me());
            Rank::Object.leave();
            return Err(error);
        }
        let held = HeldLock(lock);
        if owner_died {
            repair();
        }
        let answer = change();
        drop(held);
        answer
    }

    /// Runs `change` under the producers' latch.
    #[inline]
    fn with_tail<T>(self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        self.with(&self.shared.tail_lock, || self.repair_tail(), change)
    }

    /// Runs `change` under the consumers' latch.
    #[inline]
    fn with_head<T>(self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        // The cursor is one word and a segment's end a transaction: nothing else can be half done but a claim.
        self.with(&self.shared.head_lock, || self.finish_claim(), change)
    }

    /// The producer died between publishing a message and moving the cursor behind it: the message counts.
    fn repair_tail(self) {
        let (place, cursor) = self.tail();
        if let record @ Record::Inline(_) = place.record() {
            self.shared
                .tail
                .store(cursor.after(record.words()).0, Ordering::Release);
        }
    }

    /// A producer that died between a message's header and its cursor has put it: it must be counted.
    pub(super) fn repair_if_dead(self) {
        let owner = self.shared.tail_lock.owner();
        if owner != 0 && !self.heap.alive(owner) {
            // Whoever puts next repairs it where this cannot.
            let _ = self.with_tail(|| Ok(()));
        }
    }

    pub(super) fn notify_everybody(self) -> Result<()> {
        let shared = self.shared;
        for event_count in [&shared.not_empty, &shared.not_full, &shared.all_done] {
            event_count.wake_unconditionally();
        }
        try_tell(self.heap, self.registrations())
    }

    /// Those who wait for several things at once are told that there may be a message.
    fn tell_registered(self) {
        tell(self.heap, self.registrations());
    }

    /// Where the list of those who watch for messages begins.
    pub(super) fn registrations(self) -> Off {
        self.field(offset_of!(RingLayout, registrations))
    }

    // ---- asking ----

    /// Where the queue has been taken from and put to.
    ///
    /// A message can be taken between its header's being stored and its producer's cursor, so the count of those taken
    /// may be one ahead: then that is how many were put, too.
    fn counts(self) -> (Cursor, Cursor) {
        // Read the other way round, takers could get further ahead.
        let taken = Cursor(self.shared.taken.load(Ordering::Acquire));
        let put = Cursor(self.shared.tail.load(Ordering::Acquire));
        if put.since(taken) > MAX_CAPACITY {
            (taken, taken)
        } else {
            (taken, put)
        }
    }

    /// Messages in the queue, but for the message of a producer that has just died.
    pub(super) fn len_hint(self) -> u64 {
        let (taken, put) = self.counts();
        put.since(taken)
    }

    pub(super) fn capacity(self) -> u64 {
        self.shared.capacity.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(self) -> bool {
        self.shared.closed.load(Ordering::Acquire) != 0
    }

    pub(super) fn set_polls_for_dead(self) {
        self.shared.polls_for_dead.store(1, Ordering::Release);
    }

    pub(super) fn polls_for_dead(self) -> bool {
        self.shared.polls_for_dead.load(Ordering::Relaxed) != 0
    }

    pub(super) fn tracks_consumers(self) -> bool {
        self.shared.tracked.load(Ordering::Acquire) != 0
    }

    /// Messages put whose work is not done.
    pub(super) fn unfinished(self) -> u64 {
        let done = Cursor(self.shared.done.load(Ordering::Acquire));
        let (_, put) = self.counts();
        // Another consumer may have finished one since.
        match put.since(done) {
            n if n > MAX_CAPACITY => 0,
            n => n,
        }
    }

    /// Items that consumers died with.
    pub(super) fn lost(self) -> u64 {
        self.shared.lost.load(Ordering::Acquire)
    }

    // ---- putting ----

    fn tail(self) -> (RecordRef<'h>, Cursor) {
        self.place_at(&self.shared.tail, &self.shared.tail_segment)
    }

    /// Whether a message (or a segment's end, or the queue's) seems to be next. For spinning: it looks at what the consumer
    /// reads next anyway and the producers' own line stays theirs, but while other consumers are at work it may be wrong.
    #[inline]
    pub(super) fn may_have_message(self) -> bool {
        self.head().0.record() != Record::Empty || self.shared.closed.load(Ordering::Relaxed) != 0
    }

    fn head(self) -> (RecordRef<'h>, Cursor) {
        self.place_at(&self.shared.taken, &self.shared.head_segment)
    }

    #[inline]
    fn place_at(self, cursor: &AtomicU64, segment: &AtomicU64) -> (RecordRef<'h>, Cursor) {
        let cursor = Cursor(cursor.load(Ordering::Relaxed));
        let place = RecordRef {
            heap: self.heap,
            segment: segment.load(Ordering::Acquire),
            word: cursor.word(),
        };
        (place, cursor)
    }

    /// Runs `work`, of which the deadline holds for the transactions, too.
    fn in_time<T>(self, work: impl FnOnce() -> T) -> T {
        match self.deadline {
            Some(deadline) => internal::until(deadline, work),
            None => work(),
        }
    }

    // ---- ending ----

    /// No message can be put any more.
    pub(super) fn close(self) -> Result<()> {
        self.with_tail(|| {
            self.shared.closed.store(1, Ordering::Release);
            Ok(())
        })
    }

    /// Takes out and drops every message; answers how many.
    pub(super) fn discard(self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let mut left = None;
            let taken = self.with_head(|| self.drop_first(&mut left));
            if let Some(doomed) = left {
                self.heap.free_detached(doomed)?;
            }
            match taken? {
                Some(messages) => dropped += messages,
                None => return Ok(dropped),
            }
        }
    }

    /// Takes out the first message, or leaves the first segment, and says how many messages that is; `None` where there is
    /// nothing more. What is to be freed is put into `left`. A block needs no slot of its own here, hence no memory.
    fn drop_first(self, left: &mut Option<Doomed>) -> Result<Option<u64>> {
        let (place, cursor) = self.head();
        let record = place.record();
        let next = cursor.after(record.words()).0;
        match record {
            Record::Empty => return Ok(None),
            Record::End => {
                *left = self.leave_segment(place, cursor)?;
                return Ok(Some(0));
            }
            Record::Inline(_) => self.shared.taken.store(next, Ordering::Release),
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

/// The heap as blocks want it: for as long as the program lives.
fn lasting() -> &'static Heap {
    Heap::existing().expect("there is a queue, so there is a heap")
}

/// A process that held the queue died: what it was changing is repaired, and wake-ups it owed are made good.
fn on_holder_death(heap: &Heap, off: Off, dead: u32, tally: Off) -> Result<()> {
    let view = View::of(heap, off);
    if view.shared.tail_lock.mark_owner_dead(dead) {
        view.with_tail(|| Ok(()))?;
    }
    if view.shared.head_lock.mark_owner_dead(dead) {
        view.with_head(|| Ok(()))?;
    }
    if view.tracks_consumers() {
        view.lose(tally)?;
    }
    view.notify_everybody()
}

/// The last reference is gone: so are the messages and the segments.
fn clear(heap: &Heap, off: Off) -> Result<()> {
    let view = View::of(heap, off);
    view.discard()?;
    let segment = view.shared.head_segment.load(Ordering::Acquire);
    if segment != 0 && segment != view.first_segment() {
        let first = view.first_segment();
        heap.word(first).store(0, Ordering::Relaxed);
        let detached = heap.detach(|tx| {
            for field in [
                offset_of!(RingLayout, head_segment),
                offset_of!(RingLayout, tail_segment),
            ] {
                tx.set(view.field(field), first);
            }
            for field in [offset_of!(RingLayout, taken), offset_of!(RingLayout, tail)] {
                tx.set(view.field(field), 0);
            }
            Ok(Some(segment - HEAD))
        })?;
        if let Detached::Last(doomed) = detached {
            heap.free_detached(doomed)?;
        }
    }
    Ok(())
}
