//! Transactions: several words of the heap change together or not at all, wherever a process dies.
//!
//! 1. The heap's lock is taken.
//! 2. The new values are written to the journal. Nothing reads them yet.
//! 3. The journal's length is stored. This decides the transaction.
//! 4. The words are written.
//! 5. The length goes back to zero, and the lock is released.
//!
//! A process that takes the lock over from a dead owner finds either length zero (nothing has happened) or a decided
//! transaction, whose words it writes once more. Both can be repeated, so a death during the repair is like any other
//! death.
//!
//! The words are written with `Release`. So another process may poll one of them without the lock (the header of a
//! message in a queue, for example), and then sees everything that was written before it.

use super::heap::Heap;
use super::layout::{JOURNAL, Off};
use super::locks::unlock_internal;
use super::rank::Rank;
use crate::error::Result;
use crate::wait::atomic::Ordering;

/// A transaction whose words are being staged.
pub(crate) struct Tx<'h> {
    heap: &'h Heap,
    staged: usize,
    /// A bit for the hash of each word staged. Most words that are read are not staged, and this filter says so at
    /// once.
    filter: u64,
    /// Places in the journal, plus one, by hash with open addressing. It exists from [`INDEXED`] words on.
    index: Option<[u16; INDEX]>,
}

/// With fewer words than this the journal is searched from its end.
const INDEXED: usize = 16;
/// Places in the index: twice as many as there can be words.
const INDEX: usize = 2 * JOURNAL;
const _: () = assert!(INDEX.is_power_of_two() && JOURNAL < u16::MAX as usize);

/// Returns the hash of an offset.
fn hash(at: Off) -> u64 {
    (at >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns the bit of the filter for a hash.
fn bit(hash: u64) -> u64 {
    1 << (hash >> 58)
}

/// Returns the place in the index at which the search for a hash begins.
fn start(hash: u64) -> usize {
    (hash >> (64 - INDEX.trailing_zeros())) as usize
}

impl<'h> Tx<'h> {
    /// Returns the heap that the transaction changes.
    pub(in crate::heap) fn heap(&self) -> &'h Heap {
        self.heap
    }

    /// Returns the word at `at` as this transaction sees it.
    #[inline]
    pub(crate) fn get(&self, at: Off) -> u64 {
        match self.find(at, hash(at)) {
            Some(place) => self.heap.header().journal[place][1].load(Ordering::Relaxed),
            None => self.heap.word(at).load(Ordering::Acquire),
        }
    }

    /// Returns the place in the journal at which the word at `at` is staged.
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

    /// Makes the index, once enough words are staged.
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

    /// Stages a word that is not staged yet.
    #[inline]
    fn stage(&mut self, at: Off, hash: u64, value: u64) {
        assert!(
            self.staged < JOURNAL,
            "a transaction changes more than {JOURNAL} words"
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

/// Releases the lock of transactions, also if the closure of a transaction panics.
struct Transacting<'h>(&'h Heap);

impl Drop for Transacting<'_> {
    fn drop(&mut self) {
        unlock_internal(&self.0.header().tx_lock, Rank::Transaction);
    }
}

impl Heap {
    /// Runs `stage` under the heap's lock, and carries out what it has staged; changes nothing if it returns an
    /// error.
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

    /// Locks transactions. If the owner of the lock died, first carries out what it had decided.
    fn lock_transactions(&self) -> Result<Transacting<'_>> {
        let owner_died = self.lock_internal(&self.header().tx_lock, Rank::Transaction)?;
        let transacting = Transacting(self);
        if owner_died {
            let decided = self.header().journal_len.load(Ordering::Acquire);
            self.carry_out(decided);
        }
        Ok(transacting)
    }

    /// Writes the first `words` words of the journal to their places.
    fn carry_out(&self, words: u64) {
        let header = self.header();
        for entry in &header.journal[..(words as usize).min(JOURNAL)] {
            self.word(entry[0].load(Ordering::Relaxed))
                .store(entry[1].load(Ordering::Relaxed), Ordering::Release);
        }
        header.journal_len.store(0, Ordering::Release);
    }

    /// Ensures that no transaction of a dead process is half carried out.
    pub(crate) fn replay_journal(&self) -> Result<()> {
        self.lock_transactions().map(drop)
    }
}
