//! How a ring lies in shared memory.

use crate::heap::layout::{CHUNK, HEAD, Head};
use crate::heap::object::SharedLayout;
use crate::wait::atomic::AtomicU64;
use crate::wait::event_count::EventCount;
use crate::wait::robust_lock::RobustLock;

/// The largest capacity of a queue.
pub(super) const MAX_CAPACITY: u64 = 1 << 48;
/// Messages that are put or taken under one hold of a lock.
pub(super) const BATCH: usize = 256;

/// A ring in shared memory. Each group of fields that changes together has cache lines of its own.
#[repr(C, align(64))]
pub(crate) struct RingLayout {
    pub head: Head,
    /// The bound; 0 if the queue is unbounded.
    pub capacity: AtomicU64,
    /// 1 once the queue is shut down. Written under the tail lock.
    pub closed: AtomicU64,
    /// 1 if the queue counts what its consumers have taken and not finished: see `claims.rs`.
    pub tracked: AtomicU64,
    /// 1 if threads that wait here look for dead processes.
    pub polls_for_dead: AtomicU64,

    pub tail_lock: RobustLock,
    pub _tail_pad: u32,
    /// The place of the next message, and how many messages were put: a [`Cursor`].
    pub tail: AtomicU64,
    pub tail_segment: AtomicU64,
    /// What `taken` was when a producer last looked.
    pub seen_taken: AtomicU64,
    pub _line1: [u64; 4],

    pub head_lock: RobustLock,
    pub _head_pad: u32,
    /// The place of the first message, and how many messages were taken: a [`Cursor`].
    pub taken: AtomicU64,
    pub head_segment: AtomicU64,
    /// The claim on the message that is being taken from a tracked queue: where the consumer's tally is (0: there is no
    /// claim), and what the tally and the cursor are once the message is taken.
    pub claim_at: AtomicU64,
    pub claim_tally: AtomicU64,
    pub claim_cursor: AtomicU64,
    pub _line2: [u64; 2],

    pub not_empty: EventCount,
    pub not_full: EventCount,
    pub all_done: EventCount,
    pub _event_count_pad: u32,
    /// Messages that are finished: a [`Cursor`], of which only the count is used.
    pub done: AtomicU64,
    /// Messages that consumers of a tracked queue died with.
    pub lost: AtomicU64,
    /// The first of the selectors' registrations.
    pub registrations: AtomicU64,
    /// The token of the producers: see `producer.rs`.
    pub producers: AtomicU64,
    pub _line3: [u64; 2],
}

// SAFETY: repr(C), atomics (robust locks and event counts are one each) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for RingLayout {}

/// Bytes of a queue's object: the layout, and after it the first segment.
pub(super) const OBJECT: u64 = 2048;
/// Words of the first segment.
pub(super) const FIRST_WORDS: u64 = (OBJECT - size_of::<RingLayout>() as u64) / 8;
/// Words of every other segment.
pub(super) const SEGMENT_WORDS: u64 = (CHUNK - HEAD) / 8;
const _: () = assert!(SEGMENT_WORDS < 1 << WORD_BITS);

/// Bits of a cursor that are the index of a word.
const WORD_BITS: u32 = 14;
const WORD: u64 = (1 << WORD_BITS) - 1;

/// A place in a segment and the number of messages before it, in one word, so that both change together.
///
/// The low bits are the index of a word in the segment. The rest counts messages, and wraps after 10^15 of them.
#[derive(Clone, Copy)]
pub(super) struct Cursor(pub u64);

impl Cursor {
    /// Returns the index of the word in the segment.
    pub(super) fn word(self) -> u64 {
        self.0 & WORD
    }

    /// Returns the cursor after a message of `words` words.
    pub(super) fn after(self, words: u64) -> Self {
        Self((self.0 & !WORD).wrapping_add(1 << WORD_BITS) | (self.word() + words))
    }

    /// Returns the cursor at the start of the next segment.
    pub(super) fn rewound(self) -> Self {
        Self(self.0 & !WORD)
    }

    /// Returns the number of messages from `earlier` to here.
    pub(super) fn since(self, earlier: Self) -> u64 {
        ((self.0 & !WORD).wrapping_sub(earlier.0 & !WORD)) >> WORD_BITS
    }
}
