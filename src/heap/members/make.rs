//! Making objects and blocks.
//!
//! A small one gets its cell, its head and its slot in one transaction. For a large one, a first transaction takes a
//! raw block and a slot, then pages are committed, and a second transaction writes the head.

use super::head::write_head;
use super::object::Object;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::heap::ObjectKind;
use crate::heap::memory::layout::{MAX_CELL, MIN_CELL, Off, chunk};
use crate::heap::memory::steady::steady;
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;

/// What an object cannot be made without, and is not there.
enum Missing {
    Slot,
    Cell,
}

impl Heap {
    /// Makes an object of `bytes` (its [`Head`](crate::heap::layout::Head) included), all zero except for the head,
    /// with a reference from this process.
    pub(crate) fn make_object(&self, kind: &ObjectKind, bytes: u64, extra: u64) -> Result<Object> {
        if bytes <= MAX_CELL {
            self.make(kind, bytes, extra, Self::introduce)
        } else {
            self.make_large(kind, bytes, extra, true, Self::introduce)
        }
    }

    /// Makes an object in a cell. `wrap` makes a handle from the offset and the number of the slot, before this
    /// process can fork again.
    pub(in crate::heap) fn make<T>(
        &self,
        kind: &ObjectKind,
        bytes: u64,
        extra: u64,
        wrap: impl FnOnce(Off, u64) -> T,
    ) -> Result<T> {
        loop {
            let missing = {
                let _steady = steady();
                match self.transact(|tx| self.try_make(tx, kind, bytes, extra))? {
                    Ok((off, slot)) => return Ok(wrap(off, slot)),
                    Err(missing) => missing,
                }
            };
            match missing {
                Missing::Slot => self.make_slots()?,
                Missing::Cell => self.make_cells(bytes, 1)?,
            }
        }
    }

    /// Takes slot and cell together, so that neither is ever without the other.
    fn try_make(
        &self,
        tx: &mut Tx<'_>,
        kind: &ObjectKind,
        bytes: u64,
        extra: u64,
    ) -> Result<Result<(Off, u64), Missing>> {
        let Some(slot) = Self::free_slot(tx, self.my_entry()) else {
            return Ok(Err(Missing::Slot));
        };
        let mut made = Err(Missing::Cell);
        self.with_spare_cell(tx, bytes, |tx, cell| {
            self.clear(cell + 16, bytes.next_power_of_two().max(MIN_CELL) - 16);
            write_head(tx, cell, kind, extra);
            slot.hold(tx, cell);
            made = Ok((cell, slot.number()));
            Ok(true)
        })?;
        Ok(made)
    }

    /// Makes an object that has chunks of its own. Its contents are zero if `zeroed` is true, and arbitrary otherwise.
    /// `wrap` makes a handle from the object's offset and the number of its slot. This process does not fork between
    /// the transaction that makes the object and the end of `wrap`.
    pub(in crate::heap) fn make_large<T>(
        &self,
        kind: &ObjectKind,
        bytes: u64,
        extra: u64,
        zeroed: bool,
        wrap: impl FnOnce(Off, u64) -> T,
    ) -> Result<T> {
        let (taken, slot) = self.retrying(bytes, || {
            self.prepare(bytes)?;
            let taken = self.with_slot(|tx, slot| {
                let taken = self.take(tx, bytes)?;
                slot.hold(tx, self.chunk_at(taken.index));
                Ok(Some(taken))
            })?;
            taken.ok_or(Error::OutOfMemory { requested: bytes })
        })?;
        let off = self.chunk_at(taken.index);
        if let Err(error) = self.reach(off, bytes) {
            self.release(slot);
            return Err(error);
        }
        if zeroed {
            // Only what was used before must be cleared: memory that is committed anew is zero.
            let warm = self.word(chunk!(taken.index, committed)).load(Ordering::Relaxed);
            self.clear(off, warm.min(bytes));
        }
        let made = self.commit(taken, bytes).and_then(|()| {
            // A child that was forked before this has no reference, because the block was raw.
            let _steady = steady();
            self.transact_apart(self.my_entry(), slot, |tx, _| {
                write_head(tx, off, kind, extra);
                Self::mark_used(tx, taken);
                Ok(())
            })?;
            Ok(wrap(off, slot))
        });
        if made.is_err() {
            self.release(slot);
        }
        made
    }
}
