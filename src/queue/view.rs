/// Bits of a cursor that are the word in the segment; the rest counts messages (and wraps after 10^15).
const PLACE_BITS: u32 = 14;
const PLACE: u64 = (1 << PLACE_BITS) - 1;
/// The largest capacity.
pub(super) const MOST: u64 = 1 << 48;
/// Messages put or taken under one hold of a latch.
const BATCH: usize = 256;

/// A queue in shared memory. Each group of fields that changes together has cache lines of its own.
#[repr(C, align(64))]
struct Shared {
    head: Head,
    /// 0: unbounded.
    capacity: AtomicU64,
    /// 1 once it is shut down; written under the tail latch.
    closed: AtomicU64,
    /// 1 where what consumers have taken and not finished is noted; see [`View::claim`].
    watched: AtomicU64,
    _line0: u64,

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

    not_empty: Gate,
    not_full: Gate,
    all_done: Gate,
    _gate_pad: u32,
    /// Messages whose work is done, counted as in a cursor.
    done: AtomicU64,
    /// Items that consumers of a watched queue died with.
    lost: AtomicU64,
    _line3: [u64; 4],
}

// SAFETY: repr(C), atomics (latches and gates are one each) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for Shared {}

/// Bytes of a queue's object: what is behind [`Shared`] is its first segment.
const OBJECT: u64 = 2048;
const FIRST_WORDS: u64 = (OBJECT - size_of::<Shared>() as u64) / 8;
const SEGMENT_WORDS: u64 = (CHUNK - HEAD) / 8;
const _: () = assert!(SEGMENT_WORDS <= PLACE);

/// The kind of every queue.
pub(crate) const QUEUE: Kind = Kind {
    number: 2,
    name: "queue",
    bury,
    empty,
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

/// What a visitor wants of the record it was shown.
enum Take {
    /// It copied the message, and wants the next one too.
    More,
    /// It copied the message, and that is enough.
    Last,
    /// The block, and the next one too.
    BlockAndMore,
    /// The block, and that is enough.
    Block,
}

/// A ring without a reference of its own: survivors repair queues through it.
#[derive(Clone, Copy)]
struct View<'h> {
    heap: &'h Heap,
    off: Off,
    shared: &'h Shared,
    /// Where the consumer's note of unfinished items is; 0 where they are not watched.
    note: Off,
}

impl<'h> View<'h> {
    fn of(heap: &'h Heap, off: Off) -> Self {
        Self {
            heap,
            off,
            shared: heap.shared(off),
            note: 0,
        }
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

    /// Runs `change` under the producers' latch.
    #[inline]
    fn with_tail<T>(self, change: impl FnOnce() -> T) -> T {
        let locked = self
            .shared
            .tail_latch
            .lock(self.heap.me(), Deadline::Never, SHORT, |id| self.heap.alive(id), || false);
        let held = Held(&self.shared.tail_latch);
        if let Some(Locked::Inherited(_)) = locked {
            self.repair_tail();
        }
        let answer = change();
        drop(held);
        answer
    }

    /// Runs `change` under the consumers' latch.
    #[inline]
    fn with_head<T>(self, change: impl FnOnce() -> T) -> T {
        let locked = self
            .shared
            .head_latch
            .lock(self.heap.me(), Deadline::Never, SHORT, |id| self.heap.alive(id), || false);
        let held = Held(&self.shared.head_latch);
        if let Some(Locked::Inherited(_)) = locked {
            // The cursor is one word and a segment's end a transaction: nothing else can be half done but a claim.
            self.heap.settle();
            self.settle_claim();
        }
        let answer = change();
        drop(held);
        answer
    }

    /// The producer died between publishing a message and moving the cursor behind it: the message counts.
    fn repair_tail(self) {
        self.heap.settle();
        let (place, cursor) = self.tail();
        if let record @ Record::Inline(_) = place.record() {
            self.shared
                .tail
                .store(cursor.after(record.words()).0, Ordering::Release);
        }
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

    /// Counts an item of a watched queue as done, and no longer as this process's.
    fn finish_one(self, put: Cursor) -> Result<()> {
        self.with_head(|| {
            self.heap.transact(|tx| {
                let done = Cursor(tx.get(self.field(offset_of!(Shared, done))));
                if put.since(done) == 0 {
                    return Err(Error::TooManyTasksDone);
                }
                tx.set(self.field(offset_of!(Shared, done)), done.after(0).0);
                tx.set(self.note, tx.get(self.note).saturating_sub(1));
                Ok(())
            })
        })
    }

    /// The items that a dead consumer had: from its note to the queue's count of those lost.
    fn lose(self, note: Off) -> Result<()> {
        self.with_head(|| {
            self.heap.transact(|tx| {
                tx.add(
                    self.field(offset_of!(Shared, lost)),
                    tx.get(note).cast_signed(),
                );
                tx.set(note, 0);
                Ok(())
            })
        })
    }

    fn tail(self) -> (Place<'h>, Cursor) {
        let cursor = Cursor(self.shared.tail.load(Ordering::Relaxed));
        let segment = self.shared.tail_segment.load(Ordering::Acquire);
        (
            Place {
                heap: self.heap,
                segment,
                word: cursor.word(),
            },
            cursor,
        )
    }

    fn head(self) -> (Place<'h>, Cursor) {
        let cursor = Cursor(self.shared.taken.load(Ordering::Relaxed));
        let segment = self.shared.head_segment.load(Ordering::Acquire);
        (
            Place {
                heap: self.heap,
                segment,
                word: cursor.word(),
            },
            cursor,
        )
    }

    /// Puts what there is room for; `Full` only if something is left to be put.
    #[inline]
    fn try_put(self, message: &mut Message<'_>) -> Result<(), Refused> {
        let answer = self.with_tail(|| match message {
            Message::Bytes(bytes) => self.put_inline(bytes),
            Message::Block(block) => self.put_block(block),
            Message::Many { bytes, ends, put } => {
                let mut answer = Ok(());
                for _ in 0..BATCH {
                    let Some(&end) = ends.get(*put) else { break };
                    let start = put.checked_sub(1).map_or(0, |before| ends[before]);
                    answer = self.put_inline(&bytes[start..end]);
                    if answer.is_err() {
                        break;
                    }
                    *put += 1;
                }
                answer
            }
        });
        // Also when the queue got full on the way: what was put must be seen.
        self.shared.not_empty.notify_one();
        match message {
            Message::Many { ends, put, .. } if answer.is_ok() && *put < ends.len() => self.try_put(message),
            _ => answer,
        }
    }

    fn room(self, cursor: Cursor) -> Result<(), Refused> {
        if self.shared.closed.load(Ordering::Relaxed) != 0 {
            return Err(Refused::Closed);
        }
        let capacity = self.shared.capacity.load(Ordering::Relaxed);
        if capacity == 0 || cursor.since(Cursor(self.shared.seen_taken.load(Ordering::Relaxed))) < capacity {
            return Ok(());
        }
        let taken = self.shared.taken.load(Ordering::Acquire);
        self.shared.seen_taken.store(taken, Ordering::Relaxed);
        if cursor.since(Cursor(taken)) < capacity {
            Ok(())
        } else {
            Err(Refused::Full)
        }
    }

    #[inline]
    fn put_inline(self, bytes: &[u8]) -> Result<(), Refused> {
        let (mut place, mut cursor) = self.tail();
        self.room(cursor)?;
        let record = Record::Inline(bytes.len());
        if place.word + record.words() + END_WORDS > self.words(place.segment) {
            self.add_segment(place, cursor).map_err(Refused::Failed)?;
            (place, cursor) = self.tail();
        }
        place.fill(bytes);
        place.publish(record);
        self.shared
            .tail
            .store(cursor.after(record.words()).0, Ordering::Release);
        Ok(())
    }

    fn put_block(self, block: &mut Option<Block>) -> Result<(), Refused> {
        let Some(given) = block.as_ref() else {
            return Ok(());
        };
        let (mut place, mut cursor) = self.tail();
        self.room(cursor)?;
        if place.word + Record::Block.words() + END_WORDS > self.words(place.segment) {
            self.add_segment(place, cursor).map_err(Refused::Failed)?;
            (place, cursor) = self.tail();
        }
        self.heap.word(place.off() + 16).store(0, Ordering::Relaxed);
        let handed = self.heap.transact(|tx| {
            given.give(tx);
            tx.set(place.off() + 8, given.off());
            tx.set(place.off(), Record::Block.header());
            tx.set(
                self.field(offset_of!(Shared, tail)),
                cursor.after(Record::Block.words()).0,
            );
            Ok(())
        });
        handed.map_err(Refused::Failed)?;
        if let Some(block) = block.take() {
            block.given();
        }
        Ok(())
    }

    /// Links a new segment behind the one that is full.
    #[cold]
    fn add_segment(self, place: Place<'_>, cursor: Cursor) -> Result<()> {
        let heap = Heap::existing().expect("there is a queue, so there is a heap");
        let block = Block::new(heap, CHUNK - HEAD, 0)?;
        let segment = block.off() + HEAD;
        heap.word(segment).store(0, Ordering::Relaxed);
        heap.transact(|tx| {
            block.give(tx);
            tx.set(place.off() + 8, segment);
            tx.set(place.off(), Record::End.header());
            tx.set(self.field(offset_of!(Shared, tail_segment)), segment);
            tx.set(self.field(offset_of!(Shared, tail)), cursor.rewound().0);
            Ok(())
        })?;
        block.given();
        Ok(())
    }

    /// Shows the messages that are there to `visit` and takes those it wants.
    #[inline]
    fn try_get(self, visit: &mut impl FnMut(Place<'_>, Record) -> Take) -> Result<Vec<Block>> {
        let mut blocks = Vec::new();
        let outcome = self.with_head(|| {
            // Asked before looking: what was put before the queue was closed is seen behind this.
            let closed = self.shared.closed.load(Ordering::Acquire) != 0;
            let mut taken = 0;
            loop {
                let (place, cursor) = self.head();
                let record = place.record();
                let wants = match record {
                    Record::Empty if taken > 0 => return Ok(()),
                    Record::Empty => return Err(if closed { Error::Closed } else { Error::Empty }),
                    Record::End => {
                        self.leave_segment(place, cursor)?;
                        continue;
                    }
                    _ => visit(place, record),
                };
                let next = cursor.after(record.words()).0;
                if let Take::Block | Take::BlockAndMore = wants {
                    blocks.push(self.take_block(place, next)?);
                } else {
                    self.claim(next);
                }
                taken += 1;
                if let Take::Last | Take::Block = wants {
                    return Ok(());
                }
            }
        });
        if self.shared.capacity.load(Ordering::Relaxed) != 0 {
            self.shared.not_full.notify_one();
        }
        outcome.map(|()| blocks)
    }

    fn take_block(self, place: Place<'_>, next: u64) -> Result<Block> {
        let heap = Heap::existing().expect("there is a queue, so there is a heap");
        let block = Block::take(heap, |tx| {
            tx.set(self.field(offset_of!(Shared, taken)), next);
            if self.note != 0 {
                tx.set(self.note, tx.get(self.note) + 1);
            }
            Ok(Some(place.target()))
        })?;
        Ok(block.expect("the transaction names a block"))
    }

    /// Goes on to the next segment and frees this one.
    #[cold]
    fn leave_segment(self, place: Place<'_>, cursor: Cursor) -> Result<()> {
        let heap = Heap::existing().expect("there is a queue, so there is a heap");
        let next = place.target();
        let go_on = |tx: &mut Tx<'_>| {
            tx.set(self.field(offset_of!(Shared, head_segment)), next);
            tx.set(self.field(offset_of!(Shared, taken)), cursor.rewound().0);
        };
        if place.segment == self.first_segment() {
            return heap.transact(|tx| {
                go_on(tx);
                Ok(())
            });
        }
        drop(Block::take(heap, |tx| {
            go_on(tx);
            Ok(Some(place.segment - HEAD))
        })?);
        Ok(())
    }

    /// Takes out and drops every message; answers how many.
    fn discard(self) -> Result<u64> {
        let mut dropped = 0;
        loop {
            let answer = self.try_get(&mut |_, record| {
                dropped += 1;
                if record == Record::Block {
                    Take::Block
                } else {
                    Take::Last
                }
            });
            match answer {
                Ok(_) => {}
                Err(Error::Empty | Error::Closed) => return Ok(dropped),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Releases a latch also when what runs under it panics.
struct Held<'l>(&'l Latch);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.unlock();
    }
}

/// A process that held the queue died: what it was changing is repaired, and wake-ups it owed are made good.
fn bury(heap: &Heap, off: Off, dead: u32, note: Off) {
    let view = View::of(heap, off);
    if view.shared.tail_latch.orphan(dead) {
        view.with_tail(|| {});
    }
    if view.shared.head_latch.orphan(dead) {
        view.with_head(|| {});
    }
    if view.shared.watched.load(Ordering::Acquire) != 0 {
        // It can only fail for want of memory, and then what is lost is what was lost anyway.
        let _ = view.lose(note);
    }
    for gate in [
        &view.shared.not_empty,
        &view.shared.not_full,
        &view.shared.all_done,
    ] {
        gate.notify_all();
    }
}

/// The last reference is gone: so are the messages and the segments.
fn empty(heap: &Heap, off: Off) -> Result<()> {
    let view = View::of(heap, off);
    view.discard()?;
    let segment = view.shared.head_segment.load(Ordering::Acquire);
    if segment != 0 && segment != view.first_segment() {
        let heap = Heap::existing().expect("there is a queue, so there is a heap");
        let first = view.first_segment();
        heap.word(first).store(0, Ordering::Relaxed);
        drop(Block::take(heap, |tx| {
            for field in [offset_of!(Shared, head_segment), offset_of!(Shared, tail_segment)] {
                tx.set(view.field(field), first);
            }
            for field in [offset_of!(Shared, taken), offset_of!(Shared, tail)] {
                tx.set(view.field(field), 0);
            }
            Ok(Some(segment - HEAD))
        })?);
    }
    Ok(())
}
