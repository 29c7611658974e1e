//! Reclaiming memory: warm blocks are given back to the system and, where memory is short, dead processes are cleared
//! up after.

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::chunks::{SPARE, take_oldest};
use crate::heap::memory::layout::{CHUNK, Off, header};
use crate::heap::memory::limit::until;
use crate::heap::memory::postponed::{Postponed, postpone};
use crate::heap::memory::rank::Rank;
use crate::heap::memory::slabs::class_of;
use crate::heap::memory::steady::forking;
use crate::heap::memory::tx::Tx;
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;

impl Heap {
    /// Runs `take`. If memory is short, gives back all that can be given back and runs `take` once more. The caller
    /// holds no lock.
    pub(in crate::heap) fn retrying<T>(&self, bytes: u64, take: impl Fn() -> Result<T>) -> Result<T> {
        Rank::Sweep.is_not_reached();
        match take() {
            // In the middle of a fork a thread must wait for no lock except the heap's.
            Err(Error::OutOfMemory { .. }) if !forking() => {
                let cooled = self.cool_everything()?;
                if self.clear_up_all_dead() || cooled {
                    take()
                } else {
                    Err(Error::OutOfMemory { requested: bytes })
                }
            }
            answer => answer,
        }
    }

    /// Runs a transaction with a cell of at least `bytes`, which is taken if `stage` returns true.
    pub(in crate::heap) fn with_cell(
        &self,
        bytes: u64,
        mut stage: impl FnMut(&mut Tx<'_>, Off) -> Result<bool>,
    ) -> Result<()> {
        while !self.transact(|tx| self.with_spare_cell(tx, bytes, &mut stage))? {
            self.make_cells(bytes, 1)?;
        }
        Ok(())
    }

    /// Makes free cells of at least `bytes` until there are `count`.
    pub(in crate::heap) fn make_cells(&self, bytes: u64, count: u64) -> Result<()> {
        let class = class_of(bytes);
        self.retrying(CHUNK, || self.grow(class, count))
    }

    /// Gives back the warm blocks that have been unused for longest, while there is more warm memory than
    /// permitted.
    pub(in crate::heap) fn trim(&self) -> Result<()> {
        let header = self.header();
        let excess = || {
            let wanted = header.demand.load(Ordering::Relaxed) + header.used_bytes.load(Ordering::Relaxed);
            header.warm_bytes.load(Ordering::Relaxed) > SPARE + wanted
        };
        let too_much = |tx: &Tx<'_>| {
            tx.get(header!(warm_bytes)) > SPARE + tx.get(header!(demand)) + tx.get(header!(used_bytes))
        };
        while excess() && self.give_back(too_much)? {}
        Ok(())
    }

    /// Gives back the memory that is kept for demand, after a while in which nothing has happened.
    pub(crate) fn release_reserve(&self) {
        if self.header().demand.load(Ordering::Relaxed) == 0 {
            return;
        }
        // It fails while a process is stopped in a transaction. Then the memory goes back some other time.
        let _ = until(Deadline::Now, || {
            self.transact(|tx| {
                tx.set(header!(demand), 0);
                Ok(())
            })?;
            self.trim()
        });
    }

    /// Makes all warm memory cold, so that blocks of other sizes can have it. Returns whether there was any.
    pub(in crate::heap) fn cool_everything(&self) -> Result<bool> {
        let mut any = false;
        while self.give_back(|_| true)? {
            any = true;
        }
        Ok(any)
    }

    /// Gives back the warm block that has been unused for longest, if it is `wanted`. Returns whether there was
    /// one.
    fn give_back(&self, wanted: impl Fn(&Tx<'_>) -> bool) -> Result<bool> {
        // The block is in a slot of this process while its memory goes back, so a death leaks nothing.
        let entry = self.my_entry();
        let victim = self.transact(|tx| {
            // No slot: too much is being freed at once. Another call will do it.
            let slot = Self::freeing_slot(tx, entry).filter(|_| wanted(tx));
            let Some(slot) = slot else { return Ok(None) };
            let Some(index) = take_oldest(tx) else {
                return Ok(None);
            };
            slot.hold(tx, self.chunk_at(index));
            Ok(Some((index, slot.number())))
        })?;
        let Some((index, number)) = victim else {
            return Ok(false);
        };
        let cooled = self.cool(index, |tx| self.clear_slot(tx, number));
        if cooled.is_err() {
            postpone(Postponed::Slot(self.me(), number));
        }
        cooled.map(|()| true)
    }
}
