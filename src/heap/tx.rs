//! Transactions: several words of the heap change together or not at all, whoever dies where.
//!
//! Under the heap's latch, the new values are first written to the journal, which nobody looks at yet; storing the
//! journal's length decides the transaction; then the words are written, and the length goes back to zero. A process
//! that inherits the latch finds either length zero (nothing happened) or a decided transaction, whose words it writes
//! once more. Both are safe to repeat, so a death while repairing is an ordinary death.
//!
//! The words are written with `Release`, so one of them may be what another process polls without the latch (a message's
//! header in a queue, say): it sees all that came before.

use super::Heap;
use super::layout::{JOURNAL, Off};
use crate::error::Result;
use crate::wait::atomic::Ordering;

/// A transaction being put together.
pub(crate) struct Tx<'h> {
    heap: &'h Heap,
    staged: usize,
}

impl Tx<'_> {
    /// The word at `at` as this transaction sees it.
    pub(crate) fn get(&self, at: Off) -> u64 {
        let journal = &self.heap.header().journal;
        for entry in journal[..self.staged].iter().rev() {
            if entry[0].load(Ordering::Relaxed) == at {
                return entry[1].load(Ordering::Relaxed);
            }
        }
        self.heap.word(at).load(Ordering::Acquire)
    }

    /// Sets the word at `at` when the transaction is carried out.
    ///
    /// # Panics
    ///
    /// If the transaction changes more words than the journal has room for, which is a mistake in this crate.
    pub(crate) fn set(&mut self, at: Off, value: u64) {
        let journal = &self.heap.header().journal;
        for entry in journal[..self.staged].iter().rev() {
            if entry[0].load(Ordering::Relaxed) == at {
                entry[1].store(value, Ordering::Relaxed);
                return;
            }
        }
        assert!(
            self.staged < JOURNAL,
            "a transaction of more than {JOURNAL} words"
        );
        journal[self.staged][0].store(at, Ordering::Relaxed);
        journal[self.staged][1].store(value, Ordering::Relaxed);
        self.staged += 1;
    }

    /// Adds `n`, which may be negative, to the word at `at`.
    pub(crate) fn add(&mut self, at: Off, n: i64) {
        self.set(at, self.get(at).wrapping_add_signed(n));
    }
}

/// Releases the latch also when the closure of a transaction panics.
struct Latched<'h>(&'h Heap);

impl Drop for Latched<'_> {
    fn drop(&mut self) {
        self.0.header().latch.unlock();
    }
}

impl Heap {
    /// Runs `stage` under the heap's latch and carries out what it staged; nothing if it returns an error.
    pub(crate) fn transact<T>(&self, stage: impl FnOnce(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let latched = self.latched()?;
        let mut tx = Tx {
            heap: self,
            staged: 0,
        };
        let answer = stage(&mut tx)?;
        let staged = tx.staged as u64;
        if staged > 0 {
            self.header().journal_len.store(staged, Ordering::Release);
            self.carry_out(staged);
        }
        drop(latched);
        Ok(answer)
    }

    fn latched(&self) -> Result<Latched<'_>> {
        let owner_died = self.lock_internal(&self.header().latch)?;
        let latched = Latched(self);
        if owner_died {
            let decided = self.header().journal_len.load(Ordering::Acquire);
            self.carry_out(decided);
        }
        Ok(latched)
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
    pub(crate) fn settle(&self) -> Result<()> {
        self.latched().map(drop)
    }
}
