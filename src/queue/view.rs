//! What a ring is in shared memory, and what is done to it under its latches, by those who use it and by the survivors of
//! those who died at it. Nothing waits here but for a latch.

use super::ring::MOST;
use super::segment::{END_WORDS, Place, Record};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::heap::holds::Slotted;
use crate::heap::internal::{self, Rank, unlock_internal};
use crate::heap::layout::{CHUNK, HEAD, Head, Off};
use crate::heap::object::{Facts, Kind, SharedLayout};
use crate::heap::release::{Detached, Doomed};
use crate::heap::watch::tell;
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::gate::Gate;
use crate::wait::latch::Latch;
use core::mem::{ManuallyDrop, offset_of};

/// Bits of a cursor that are the word in the segment; the rest counts messages (and wraps after 10^15).
const PLACE_BITS: u32 = 14;
const PLACE: u64 = (1 << PLACE_BITS) - 1;
/// Messages put or taken under one hold of a latch.
pub(super) const BATCH: usize = 256;

/// A queue in shared memory. Each group of fields that changes together has cache lines of its own.
#[repr(C, align(64))]
pub(super) struct Shared {
    head: Head,
    /// 0: unbounded.
    capacity: AtomicU64,
    /// 1 once it is shut down; written under the tail latch.
    closed: AtomicU64,
    /// 1 where what consumers have taken and not finished is noted; see [`View::claim`].
    watched: AtomicU64,
    /// 1 where whoever waits looks after the dead.
    watchful: AtomicU64,

    tail_latch: Latch,
    _tail_pad: u32,
    /// Where the next message goes, and how many were put: see [`Cursor`].
    tail: AtomicU64,
    tail_segment: AtomicU64,
    /// How many had been taken when a producer last looked.
    seen_taken: AtomicU64,
    _line1: [u64; 4],

    head_latch: Latch,
    _head_pad: u32,
    /// Where the next message is, and how many were taken.
    taken: AtomicU64,
    head_segment: AtomicU64,
    /// Of a watched queue, the message being taken: where the consumer's note is (0: none), the note and the cursor that
    /// go with having taken it.
    claim_at: AtomicU64,
    claim_note: AtomicU64,
    claim_cursor: AtomicU64,
    _line2: [u64; 2],

    pub(super) not_empty: Gate,
    pub(super) not_full: Gate,
    pub(super) all_done: Gate,
    _gate_pad: u32,
    /// Messages whose work is done, counted as in a cursor.
    done: AtomicU64,
    /// Items that consumers of a watched queue died with.
    lost: AtomicU64,
    /// Where the list begins of those who watch for messages.
    watchers: AtomicU64,
    /// What ends the queue with its last producer: see `producer.rs`.
    producers: AtomicU64,
    _line3: [u64; 2],
}

// SAFETY: repr(C), atomics (latches and gates are one each) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for Shared {}

/// Bytes of a queue's object: what is behind [`Shared`] is its first segment.
pub(super) const OBJECT: u64 = 2048;
const FIRST_WORDS: u64 = (OBJECT - size_of::<Shared>() as u64) / 8;
const SEGMENT_WORDS: u64 = (CHUNK - HEAD) / 8;
const _: () = assert!(SEGMENT_WORDS <= PLACE);

/// The kind of every queue.
pub(crate) const QUEUE: Kind = Kind {
    number: 2,
    name: "queue",
    bury,
    empty,
    describe: |heap, off| {
        let view = View::of(heap, off);
        Facts::of([
            ("messages", view.glance()),
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
    Closed,
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
struct Left {
    /// Segments to be freed.
    segments: Vec<Doomed>,
    /// A slot for a block was needed, and there was none.
    slot_wanted: bool,
}

/// A message to put.
pub(crate) enum Message<'b> {
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
    pub(super) shared: &'h Shared,
    /// Where the consumer's note of unfinished items is; 0 where they are not watched.
    note: Off,
    /// The deadline of the user's call that this is for; `None` for survivors.
    deadline: Option<Deadline>,
}

/// Releases a latch also when what runs under it panics.
struct Held<'l>(&'l Latch);

impl Drop for Held<'_> {
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
            note: 0,
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

    /// The same for a consumer whose note is at `note`.
    pub(super) fn noting_at(self, note: Off) -> Self {
        Self { note, ..self }
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
        self.off + size_of::<Shared>() as Off
    }

    /// Where it says what ends it with its last producer.
    pub(super) fn producers(self) -> Off {
        self.field(offset_of!(Shared, producers))
    }

    // ---- latches and repairs ----

    /// Runs `change` under `latch`; behind a dead holder, `repair` first.
    #[inline]
    fn with<T>(self, latch: &Latch, repair: impl FnOnce(), change: impl FnOnce() -> Result<T>) -> Result<T> {
        let owner_died = match self.deadline {
            Some(deadline) => self.heap.lock_internal_until(latch, Rank::Object, deadline)?,
            None => self.heap.lock_internal(latch, Rank::Object)?,
        };
        if owner_died && let Err(error) = self.heap.settle() {
            // Whoever takes it next repairs.
            latch.orphan(self.heap.me());
            Rank::Object.leave();
            return Err(error);
        }
        let held = Held(latch);
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
        self.with(&self.shared.tail_latch, || self.repair_tail(), change)
    }

    /// Runs `change` under the consumers' latch.
    #[inline]
    fn with_head<T>(self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        // The cursor is one word and a segment's end a transaction: nothing else can be half done but a claim.
        self.with(&self.shared.head_latch, || self.settle_claim(), change)
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
        let owner = self.shared.tail_latch.owner();
        if owner != 0 && !self.heap.alive(owner) {
            // Whoever puts next repairs it where this cannot.
            let _ = self.with_tail(|| Ok(()));
        }
    }

    pub(super) fn notify_everybody(self) {
        let shared = self.shared;
        for gate in [&shared.not_empty, &shared.not_full, &shared.all_done] {
            gate.notify_all();
        }
        self.tell_watchers();
    }

    /// Those who wait for several things at once are told that there may be a message.
    fn tell_watchers(self) {
        tell(self.heap, self.watchers());
    }

    /// Where the list of those who watch for messages begins.
    pub(super) fn watchers(self) -> Off {
        self.field(offset_of!(Shared, watchers))
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
        if put.since(taken) > MOST {
            (taken, taken)
        } else {
            (taken, put)
        }
    }

    /// Messages in the queue, but for the message of a producer that has just died.
    pub(super) fn glance(self) -> u64 {
        let (taken, put) = self.counts();
        put.since(taken)
    }

    pub(super) fn capacity(self) -> u64 {
        self.shared.capacity.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(self) -> bool {
        self.shared.closed.load(Ordering::Acquire) != 0
    }

    pub(super) fn look_after_the_dead(self) {
        self.shared.watchful.store(1, Ordering::Release);
    }

    pub(super) fn is_watchful(self) -> bool {
        self.shared.watchful.load(Ordering::Relaxed) != 0
    }

    pub(super) fn is_watched(self) -> bool {
        self.shared.watched.load(Ordering::Acquire) != 0
    }

    /// Messages put whose work is not done.
    pub(super) fn unfinished(self) -> u64 {
        let done = Cursor(self.shared.done.load(Ordering::Acquire));
        let (_, put) = self.counts();
        // Another consumer may have finished one since.
        match put.since(done) {
            n if n > MOST => 0,
            n => n,
        }
    }

    /// Items that consumers died with.
    pub(super) fn lost(self) -> u64 {
        self.shared.lost.load(Ordering::Acquire)
    }

    // ---- putting ----

    fn tail(self) -> (Place<'h>, Cursor) {
        self.place_at(&self.shared.tail, &self.shared.tail_segment)
    }

    /// Whether a message (or a segment's end, or the queue's) seems to be next. For spinning: it looks at what the consumer
    /// reads next anyway and the producers' own line stays theirs, but while other consumers are at work it may be wrong.
    #[inline]
    pub(super) fn shows_message(self) -> bool {
        self.head().0.record() != Record::Empty || self.shared.closed.load(Ordering::Relaxed) != 0
    }

    fn head(self) -> (Place<'h>, Cursor) {
        self.place_at(&self.shared.taken, &self.shared.head_segment)
    }

    #[inline]
    fn place_at(self, cursor: &AtomicU64, segment: &AtomicU64) -> (Place<'h>, Cursor) {
        let cursor = Cursor(cursor.load(Ordering::Relaxed));
        let place = Place {
            heap: self.heap,
            segment: segment.load(Ordering::Acquire),
            word: cursor.word(),
        };
        (place, cursor)
    }

    /// Puts what there is room for; `Full` only if something is left to be put.
    #[inline]
    pub(super) fn try_put(self, message: &mut Message<'_>) -> Result<(), Refused> {
        // There is no block in it yet, so there is nothing to be dropped.
        let mut spare = ManuallyDrop::new(Spare::default());
        let mut answer = self.put_some(message, &mut spare);
        if spare.wanted {
            answer = self.put_with_segment(message);
        }
        // Also when the queue got full on the way: what was put must be seen.
        self.shared.not_empty.notify_one_and(|| self.tell_watchers());
        match message {
            Message::Many { ends, put, .. } if answer.is_ok() && *put < ends.len() => self.try_put(message),
            _ => answer,
        }
    }

    /// The same for a producer that needs another segment, and makes it where nobody waits for it.
    #[cold]
    #[inline(never)]
    fn put_with_segment(self, message: &mut Message<'_>) -> Result<(), Refused> {
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
    fn put_some(self, message: &mut Message<'_>, spare: &mut Spare) -> Result<(), Refused> {
        let put = self.with_tail(|| {
            Ok(match message {
                Message::Bytes(bytes) => self.put_inline(bytes, spare),
                Message::Block(block) => self.put_block(block, spare),
                Message::Many { bytes, ends, put } => {
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
    fn room(self, words: u64, spare: &mut Spare) -> Result<(Place<'h>, Cursor), Refused> {
        let (place, cursor) = self.tail();
        if self.shared.closed.load(Ordering::Relaxed) != 0 {
            return Err(Refused::Closed);
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

    /// Runs `work`, of which the deadline holds for the transactions, too.
    fn in_time<T>(self, work: impl FnOnce() -> T) -> T {
        match self.deadline {
            Some(deadline) => internal::until(deadline, work),
            None => work(),
        }
    }

    fn put_block(self, block: &mut Option<Block>, spare: &mut Spare) -> Result<(), Refused> {
        let Some(given) = block.as_ref() else {
            return Ok(());
        };
        let (place, cursor) = self.room(Record::Block.words(), spare)?;
        self.heap.word(place.off() + 16).store(0, Ordering::Relaxed);
        let handed = self.in_time(|| {
            self.heap.transact(|tx| {
                given.give(tx);
                tx.set(place.off() + 8, given.off());
                tx.set(place.off(), Record::Block.header());
                tx.set(
                    self.field(offset_of!(Shared, tail)),
                    cursor.after(Record::Block.words()).0,
                );
                Ok(())
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
    fn add_segment(self, place: Place<'_>, cursor: Cursor, spare: &mut Spare) -> Result<(), Refused> {
        let Some(block) = spare.block.as_ref() else {
            spare.wanted = true;
            // It is not: see `try_put`.
            return Err(Refused::Full);
        };
        let segment = block.off() + HEAD;
        let linked = self.in_time(|| {
            self.heap.transact(|tx| {
                block.give(tx);
                tx.set(place.off() + 8, segment);
                tx.set(place.off(), Record::End.header());
                tx.set(self.field(offset_of!(Shared, tail_segment)), segment);
                tx.set(self.field(offset_of!(Shared, tail)), cursor.rewound().0);
                Ok(())
            })
        });
        linked.map_err(Refused::Failed)?;
        if let Some(block) = spare.block.take() {
            block.given();
        }
        Ok(())
    }

    // ---- getting ----

    /// Shows the messages that are there to `visit` and takes those it wants. An error behind the first that was taken is
    /// none: it comes again.
    #[inline]
    pub(super) fn try_get(self, visit: &mut impl FnMut(Place<'_>, Record) -> Take) -> Result<Vec<Block>> {
        let (mut blocks, mut left) = (Vec::new(), Left::default());
        let outcome = loop {
            let outcome = self.with_head(|| self.take_some(visit, &mut blocks, &mut left));
            if !left.slot_wanted {
                break outcome;
            }
            // Memory is made where nobody waits for it.
            left.slot_wanted = false;
            if let Err(error) = self.in_time(|| self.heap.make_slots()) {
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
        visit: &mut impl FnMut(Place<'_>, Record) -> Take,
        blocks: &mut Vec<Block>,
        left: &mut Left,
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
                Record::Empty => return Err(if closed { Error::Closed } else { Error::Empty }),
                Record::End => match self.in_time(|| self.leave_segment(place, cursor)) {
                    Ok(doomed) => {
                        left.segments.extend(doomed);
                        continue;
                    }
                    Err(_) if taken > 0 => return Ok(()),
                    Err(error) => return Err(error),
                },
                Record::Block => match self.in_time(|| self.take_block(place, next(record))) {
                    Ok(Some(block)) => {
                        blocks.push(block);
                        visit(place, record)
                    }
                    _ if taken > 0 => return Ok(()),
                    Ok(None) => {
                        left.slot_wanted = true;
                        return Ok(());
                    }
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

    /// Takes the block here; `None` where this process has no slot for it.
    fn take_block(self, place: Place<'_>, next: u64) -> Result<Option<Block>> {
        let block = Block::take_into_spare(lasting(), |tx| {
            tx.set(self.field(offset_of!(Shared, taken)), next);
            if self.note != 0 {
                tx.add(self.note, 1);
            }
            Ok(Some(place.target()))
        })?;
        Ok(match block {
            Slotted::Done(block) => Some(block),
            Slotted::Nothing | Slotted::NoSlot => None,
        })
    }

    /// Goes on to the next segment; the old one is to be freed.
    #[cold]
    fn leave_segment(self, place: Place<'_>, cursor: Cursor) -> Result<Option<Doomed>> {
        let next = place.target();
        let detached = self.heap.detach(|tx| {
            tx.set(self.field(offset_of!(Shared, head_segment)), next);
            tx.set(self.field(offset_of!(Shared, taken)), cursor.rewound().0);
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
    pub(super) fn watch(self) {
        self.shared.watched.store(1, Ordering::Release);
    }

    /// Moves the head cursor behind an inline message, and notes where that is watched that this process has it.
    #[inline]
    fn claim(self, next: u64) {
        let shared = self.shared;
        if self.note == 0 {
            shared.taken.store(next, Ordering::Release);
            return;
        }
        let note = self.heap.word(self.note).load(Ordering::Relaxed);
        shared.claim_note.store(note + 1, Ordering::Relaxed);
        shared.claim_cursor.store(next, Ordering::Relaxed);
        shared.claim_at.store(self.note, Ordering::Release);
        shared.taken.store(next, Ordering::Release);
        self.settle_claim();
    }

    /// Writes the note of a message that was taken. The cursor says whether it was.
    fn settle_claim(self) {
        let shared = self.shared;
        let at = shared.claim_at.load(Ordering::Acquire);
        if at != 0 {
            if shared.taken.load(Ordering::Relaxed) == shared.claim_cursor.load(Ordering::Relaxed) {
                let note = shared.claim_note.load(Ordering::Relaxed);
                self.heap.word(at).store(note, Ordering::Release);
            }
            shared.claim_at.store(0, Ordering::Release);
        }
    }

    /// Counts a message as done, and where that is watched no longer as this process's.
    pub(super) fn finish(self) -> Result<()> {
        if self.is_watched() {
            return self.finish_noted();
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

    fn finish_noted(self) -> Result<()> {
        self.with_head(|| {
            self.heap.transact(|tx| {
                let done = self.field(offset_of!(Shared, done));
                tx.set(done, self.one_more_done(tx.get(done))?);
                if self.note != 0 {
                    tx.set(self.note, tx.get(self.note).saturating_sub(1));
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

    /// The items that a dead consumer had: from its note to the queue's count of those lost.
    fn lose(self, note: Off) -> Result<()> {
        self.with_head(|| {
            self.heap.transact(|tx| {
                tx.add(self.field(offset_of!(Shared, lost)), tx.get(note).cast_signed());
                tx.set(note, 0);
                Ok(())
            })
        })
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
                    tx.set(self.field(offset_of!(Shared, taken)), next);
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
fn bury(heap: &Heap, off: Off, dead: u32, note: Off) -> Result<()> {
    let view = View::of(heap, off);
    if view.shared.tail_latch.orphan(dead) {
        view.with_tail(|| Ok(()))?;
    }
    if view.shared.head_latch.orphan(dead) {
        view.with_head(|| Ok(()))?;
    }
    if view.is_watched() {
        view.lose(note)?;
    }
    view.notify_everybody();
    Ok(())
}

/// The last reference is gone: so are the messages and the segments.
fn empty(heap: &Heap, off: Off) -> Result<()> {
    let view = View::of(heap, off);
    view.discard()?;
    let segment = view.shared.head_segment.load(Ordering::Acquire);
    if segment != 0 && segment != view.first_segment() {
        let first = view.first_segment();
        heap.word(first).store(0, Ordering::Relaxed);
        let detached = heap.detach(|tx| {
            for field in [offset_of!(Shared, head_segment), offset_of!(Shared, tail_segment)] {
                tx.set(view.field(field), first);
            }
            for field in [offset_of!(Shared, taken), offset_of!(Shared, tail)] {
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
