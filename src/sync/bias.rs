//! The bias of a semaphore towards the one process that has used it recently.
//!
//! A permit that is taken moves from the count of free permits to the tally of the process. The two are in different
//! places, so that takes a lock and a journal. While a semaphore is biased, both numbers stand in one word, together
//! with the process, and its threads move permits from one number to the other by one exchange.
//!
//! Only that process changes the word, until another one *freezes* it. From then on only the owner of the lock
//! changes it. Count and tally are out of date while there is a bias.

use crate::wait::atomic::{AtomicU64, Ordering};

/// The largest number of free permits, and of taken ones.
pub(super) const MAX: u64 = 0xFFFF;
/// What one taken permit counts in the word; a free one counts 1.
const TAKEN: u64 = MAX + 1;
/// Bits of the two numbers together; the process stands above them.
const BITS: u32 = 32;
/// The bit that says that the bias is being ended.
const FROZEN: u64 = 1 << 63;

/// A word in shared memory. Zero means that there is no bias.
#[repr(transparent)]
pub(super) struct Bias(AtomicU64);

/// What the word of a bias says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Owner id of the process.
    pub owner: u32,
    /// Free permits.
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

    /// Returns what the word says, if there is a bias.
    #[inline]
    pub(super) fn share(&self) -> Option<Share> {
        Share::of(self.0.load(Ordering::Acquire))
    }

    /// Returns true if there is a bias towards the process `me` that is not frozen.
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

    /// Adds `more` to the word, if the bias is towards `me` and the word has any of `these` bits. Where it returns
    /// true, it was a read-modify-write.
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

    /// Begins a bias, with at most [`MAX`] permits in all. The caller holds the lock, and there is no bias.
    pub(super) fn begin(&self, share: Share) {
        let word = (u64::from(share.owner) << BITS) | (share.taken * TAKEN) | share.free;
        self.0.store(word, Ordering::Release);
    }

    /// Keeps the process from changing the word from now on, and returns what the word says. The caller holds the lock.
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

    /// Ends the bias. The caller holds the lock, and has written count and tally.
    #[inline]
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }
}
