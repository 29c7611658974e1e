//! Segments: where a queue's messages lie, one after the other.
//!
//! A segment is a run of 64-bit words. A record is a header word and its content: the message's bytes, or the offset of
//! the block that is the message, or the offset of the next segment. A header of zero means "nothing yet".
//!
//! 1. The producer writes the content, and a zero header after the record.
//! 2. It stores the record's header (`Release`).
//! 3. The consumer reads the header (`Acquire`), and then the content.
//!
//! So one store puts a message, entirely or not at all.

use crate::heap::Heap;
use crate::heap::layout::Off;
use crate::wait::atomic::Ordering;

/// The largest message, in bytes, that lies in the segment itself. Larger ones are blocks.
pub(super) const INLINE: usize = 8 << 10;
/// Words of a record that ends a segment. There must always be room for one.
pub(super) const END_WORDS: u64 = 2;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Nothing yet.
    Empty,
    /// A message of this many bytes.
    Inline(usize),
    /// A message that is a block.
    Block,
    /// The end of the segment, with a link to the next one.
    End,
}

impl Record {
    /// Returns the record's header word.
    pub(super) fn header(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Inline(len) => 1 << 56 | len as u64,
            Self::Block => 2 << 56,
            Self::End => 3 << 56,
        }
    }

    /// Returns the record with this header word, whatever the word is.
    fn from_header(word: u64) -> Self {
        match word >> 56 {
            1 => Self::Inline((word as u32 as usize).min(INLINE)),
            2 => Self::Block,
            3 => Self::End,
            _ => Self::Empty,
        }
    }

    /// Returns the number of words of the record, with its header.
    pub(super) fn words(self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Inline(len) => 1 + (len as u64).div_ceil(8),
            Self::Block | Self::End => 2,
        }
    }
}

/// A place in a segment.
#[derive(Clone, Copy)]
pub(super) struct RecordRef<'h> {
    pub heap: &'h Heap,
    /// Offset of the segment's first word.
    pub segment: Off,
    pub word: u64,
}

impl RecordRef<'_> {
    /// Returns the offset of this place.
    pub(super) fn off(self) -> Off {
        self.segment + 8 * self.word
    }

    /// Returns the record here.
    #[inline]
    pub(super) fn record(self) -> Record {
        Record::from_header(self.heap.word(self.off()).load(Ordering::Acquire))
    }

    /// Returns the offset that the record of a block or of an end holds.
    pub(super) fn target(self) -> Off {
        self.heap.word(self.off() + 8).load(Ordering::Relaxed)
    }

    /// Writes a message here: its content, a header of zero after it, and last its own header, for consumers to see.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) fn write(self, bytes: &[u8]) {
        let record = Record::Inline(bytes.len());
        let words = self.heap.words(self.off(), record.words() + 1);
        let (header, content) = (&words[0], &words[1..]);
        content[content.len() - 1].store(0, Ordering::Relaxed);
        let to = content.as_ptr().cast_mut().cast::<u8>();
        // SAFETY: the bytes fit into the words before the last one. The caller holds the tail lock and has seen that
        // the record fits into the segment, whose memory is committed; consumers read nothing here before the header is
        // stored. The words are atomics, which may be written through a shared reference.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        header.store(record.header(), Ordering::Release);
    }

    /// Appends the `len` bytes of the message here to `buffer`.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) fn copy_to(self, len: usize, buffer: &mut Vec<u8>) {
        buffer.reserve(len);
        let from = self.heap.address(self.off() + 8, len as u64);
        // SAFETY: the caller holds the head lock, so the segment stays. The header said that `len` bytes (at most
        // INLINE) follow it, and producers do not write after a header that is set. The buffer has room for the bytes.
        unsafe {
            core::ptr::copy_nonoverlapping(from, buffer.as_mut_ptr().add(buffer.len()), len);
            buffer.set_len(buffer.len() + len);
        }
    }
}
