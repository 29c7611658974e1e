//! Transactions: several words of the heap change together or not at all, whoever dies where.
//!
//! Under the heap's latch, the new values are first written to the journal, which nobody looks at yet; storing the
//! journal's length decides the transaction; then the words are written, and the length goes back to zero. A process
//! that inherits the latch finds either length zero (nothing happened) or a decided transaction, whose words it writes
//! once more. Both are safe to repeat, so a death while repairing is an ordinary death.
//!
//! The words are written with `Release`, so one of them may be what another process polls without the latch (a message's
//! header in a queue, say): it sees all that came before.

use super::heap::Heap;
use super::layout::{JOURNAL, Off};
use super::locks::unlock_internal;
use super::rank::Rank;
use crate::error::Result;
use crate::wait::atomic::Ordering;

/// A transaction being put together.
pub(crate) struct Tx<'h> {
    heap: &'h Heap,
    staged: usize,
    /// A bit for the hash of each word staged: most words that are read are not among them.
    filter: u64,
    /// Places in the journal by hash, plus one, with open addressing; there is one from [`INDEXED`] words on.
    index: Option<[u16; INDEX]>,
}

/// Up to so many words the journal is looked through.
const INDEXED: usize = 16;
/// Twice as many places as there can be words.
const INDEX: usize = 2 * JOURNAL;
const _: () = assert!(INDEX.is_power_of_two() && JOURNAL < u16::MAX as usize);

fn hash(at: Off) -> u64 {
    (at >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The bit of a hash in the filter.
fn bit(hash: u64) -> u64 {
    1 << (hash >> 58)
}

/// Where in the index to look for a hash first.
fn start(hash: u64) -> usize {
    (hash >> (64 - INDEX.trailing_zeros())) as usize
}

impl<'h> Tx<'h> {
    /// The heap it is about.
    pub(in crate::heap) fn heap(&self) -> &'h Heap {
        self.heap
    }

    /// The word at `at` as this transaction sees it.
    #[inline]
    pub(crate) fn get(&self, at: Off) -> u64 {
        match self.find(at, hash(at)) {
            Some(place) => self.heap.header().journal[place][1].load(Ordering::Relaxed),
            None => self.heap.word(at).load(Ordering::Acquire),
        }
    }

    /// Where in the journal the word at `at` is staged.
    #[inline]
    fn find(&self, at: Off, hash: u64) -> Option<usize> {
        if self.filter & bit(hash) == 0 {
            return None;
        }
        let journal = &self.heap.header().journal;
        let is_it = |place: usize| journal[place][0].load(Ordering::Relaxed) == at;
        let Some(index) = &self.index else {
            return (0..self.staged).rev().find(|&place| is_it(place));
        };
        let mut i = start(hash);
        loop {
            match index[i] {
                0 => return None,
                place if is_it(place as usize - 1) => return Some(place as usize - 1),
                _ => i = (i + 1) % INDEX,
            }
        }
    }

    /// Enters what is staged at `place` into the index.
    #[inline]
    fn enter(index: &mut [u16; INDEX], hash: u64, place: usize) {
        let mut i = start(hash);
        while index[i] != 0 {
            i = (i + 1) % INDEX;
        }
        index[i] = place as u16 + 1;
    }

    /// There are enough words for an index.
    #[cold]
    fn begin_index(&mut self) {
        let journal = &self.heap.header().journal;
        let index = self.index.insert([0; INDEX]);
        for (place, entry) in journal[..self.staged].iter().enumerate() {
            Self::enter(index, hash(entry[0].load(Ordering::Relaxed)), place);
        }
    }

    /// Sets the word at `at` when the transaction is carried out.
    ///
    /// # Panics
    ///
    /// If the transaction changes more words than the journal has room for, which is a mistake in this crate.
    #[inline]
    pub(crate) fn set(&mut self, at: Off, value: u64) {
        let hash = hash(at);
        match self.find(at, hash) {
            Some(place) => self.heap.header().journal[place][1].store(value, Ordering::Relaxed),
            None => self.stage(at, hash, value),
        }
    }

    /// Adds `n`, which may be negative, to the word at `at`.
    #[inline]
    pub(crate) fn add(&mut self, at: Off, n: i64) {
        let hash = hash(at);
        if let Some(place) = self.find(at, hash) {
            let word = &self.heap.header().journal[place][1];
            word.store(
                word.load(Ordering::Relaxed).wrapping_add_signed(n),
                Ordering::Relaxed,
            );
        } else {
            let word = self.heap.word(at).load(Ordering::Acquire);
            self.stage(at, hash, word.wrapping_add_signed(n));
        }
    }

    /// Stages a word that is not yet.
    #[inline]
    fn stage(&mut self, at: Off, hash: u64, value: u64) {
        assert!(
            self.staged < JOURNAL,
            "a transaction of more than {JOURNAL} words"
        );
        let entry = &self.heap.header().journal[self.staged];
        entry[0].store(at, Ordering::Relaxed);
        entry[1].store(value, Ordering::Relaxed);
        self.filter |= bit(hash);
        if let Some(index) = &mut self.index {
            Self::enter(index, hash, self.staged);
        }
        self.staged += 1;
        if self.staged == INDEXED {
            self.begin_index();
        }
    }
}

/// Releases the latch also when the closure of a transaction panics.
struct Transacting<'h>(&'h Heap);

impl Drop for Transacting<'_> {
    fn drop(&mut self) {
        unlock_internal(&self.0.header().tx_lock, Rank::Transaction);
    }
}

impl Heap {
    /// Runs `stage` under the heap's latch and carries out what it staged; nothing if it returns an error.
    pub(crate) fn transact<T>(&self, stage: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let transacting = self.lock_transactions()?;
        let mut tx = Tx {
            heap: self,
            staged: 0,
            filter: 0,
            index: None,
        };
        let answer = stage(&mut tx)?;
        let staged = tx.staged as u64;
        if staged > 0 {
            self.header().journal_len.store(staged, Ordering::Release);
            self.carry_out(staged);
        }
        drop(transacting);
        Ok(answer)
    }

    fn lock_transactions(&self) -> Result<Transacting<'_>> {
        let owner_died = self.lock_internal(&self.header().tx_lock, Rank::Transaction)?;
        let transacting = Transacting(self);
        if owner_died {
            let decided = self.header().journal_len.load(Ordering::Acquire);
            self.carry_out(decided);
        }
        Ok(transacting)
    }

    fn carry_out(&self, words: u64) {
        let header = self.header();
        for entry in &header.journal[..(words as usize).min(JOURNAL)] {
            self.word(entry[0].load(Ordering::Relaxed))
                .store(entry[1].load(Ordering::Relaxed), Ordering::Release);
        }
        header.journal_len.store(0, Ordering::Release);
    }

    /// Sees to it that no transaction of a dead process is half carried out.
    pub(crate) fn replay_journal(&self) -> Result<()> {
        self.lock_transactions().map(drop)
    }
}
