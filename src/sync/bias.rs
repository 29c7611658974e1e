//! The bias of a semaphore towards the process that alone has used it of late.
//!
//! A permit that is taken moves from the count of the free ones to the tally of the process that has it, and the two are
//! in different places: that takes a latch and a journal. While a semaphore is biased, both numbers stand in one word, with
//! the process they are about, and its threads move permits from one to the other by one exchange.
//!
//! Only that process changes the word, until somebody *freezes* it: from then on nobody does but who has the latch. What
//! the count and the tally say meanwhile is old.

use crate::wait::atomic::{AtomicU64, Ordering};

/// The most permits that can be free or taken.
pub(super) const MAX: u64 = 0xFFFF;
/// One permit taken; one that is free counts 1.
const TAKEN: u64 = MAX + 1;
/// Bits of the two numbers.
const BITS: u32 = 32;
/// The word is about to be taken apart.
const FROZEN: u64 = 1 << 63;

/// A word in shared memory. All zero is no bias.
#[repr(transparent)]
pub(super) struct Bias(AtomicU64);

/// What a bias was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Owner id of the process.
    pub owner: u32,
    /// Permits to be had.
    pub free: u64,
    /// Permits that the process has: acquired less released.
    pub taken: u64,
}

impl Share {
    fn of(word: u64) -> Option<Self> {
        (word != 0).then_some(Self {
            owner: ((word & !FROZEN) >> BITS) as u32,
            free: word & MAX,
            taken: (word / TAKEN) & MAX,
        })
    }
}

impl Bias {
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// What it is made of, if there is one.
    #[inline]
    pub(super) fn share(&self) -> Option<Share> {
        Share::of(self.0.load(Ordering::Acquire))
    }

    /// Whether it is towards the process `me`, who may use it: not if it is frozen.
    #[inline]
    pub(super) fn is_towards(&self, me: u32) -> bool {
        self.0.load(Ordering::Relaxed) >> BITS == u64::from(me)
    }

    /// Takes a permit, if the bias is towards the process `me` and one is free.
    #[inline]
    pub(super) fn take(&self, me: u32) -> bool {
        self.change(me, MAX, TAKEN.wrapping_sub(1))
    }

    /// Gives a permit back, if the bias is towards `me` and that has one.
    #[inline]
    pub(super) fn give_back(&self, me: u32) -> bool {
        self.change(me, MAX * TAKEN, 1u64.wrapping_sub(TAKEN))
    }

    /// Adds to a word of `me` that has any of `these` bits. It is a read-modify-write where it answers true.
    #[inline]
    fn change(&self, me: u32, these: u64, more: u64) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word >> BITS == u64::from(me) && word & these != 0 {
            match self
                .0
                .compare_exchange(word, word.wrapping_add(more), Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Begins a bias, with at most [`MAX`] permits in all. For who has the latch, where there is none.
    pub(super) fn begin(&self, share: Share) {
        let word = (u64::from(share.owner) << BITS) | (share.taken * TAKEN) | share.free;
        self.0.store(word, Ordering::Release);
    }

    /// Keeps its process from changing it; what it is made of then. For who has the latch.
    #[inline]
    pub(super) fn freeze(&self) -> Option<Share> {
        let mut word = self.0.load(Ordering::Acquire);
        while word != 0 && word & FROZEN == 0 {
            match self
                .0
                .compare_exchange(word, word | FROZEN, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        Share::of(word)
    }

    /// Ends it. For who has the latch, when what it was made of is elsewhere.
    #[inline]
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }
}
