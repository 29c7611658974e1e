//! Small objects: cells of 64 bytes to 8 KiB, each size from chunks of its own.
//!
//! A slab with free cells is in the list of its class. A slab whose last cell is freed becomes a chunk again, unless
//! it is the only one of its class with room. Taking and freeing a cell is part of the caller's transaction.

use super::heap::Heap;
use super::layout::{CHUNK, CLASSES, MAX_CELL, MIN_CELL, Off, SERIAL, chunk, header, kind};
use super::locks::unlock_internal;
use super::rank::Rank;
use super::tx::Tx;
use crate::error::Result;
use crate::wait::atomic::Ordering;

/// Returns the class of the smallest cells that hold `bytes`.
pub(in crate::heap) fn class_of(bytes: u64) -> usize {
    (bytes.max(MIN_CELL).next_power_of_two() / MIN_CELL).trailing_zeros() as usize
}

/// Returns the bytes of a cell of `class`.
fn cell_size(class: u64) -> u64 {
    MIN_CELL << class
}

/// Puts a slab into the list of its class.
fn enlist(tx: &mut Tx<'_>, class: u64, index: u64) {
    let first = tx.get(header!(slabs[class]));
    tx.set(chunk!(index, next), first);
    tx.set(chunk!(index, prev), 0);
    if first != 0 {
        tx.set(chunk!(first - 1, prev), index + 1);
    }
    tx.set(header!(slabs[class]), index + 1);
}

/// Takes a slab out of the list of its class.
fn delist(tx: &mut Tx<'_>, class: u64, index: u64) {
    let (next, prev) = (tx.get(chunk!(index, next)), tx.get(chunk!(index, prev)));
    match prev {
        0 => tx.set(header!(slabs[class]), next),
        p => tx.set(chunk!(p - 1, next), next),
    }
    if next != 0 {
        tx.set(chunk!(next - 1, prev), prev);
    }
}

impl Heap {
    /// Stages with a free cell of at least `bytes` within a transaction, and takes the cell if `stage` returns
    /// true. Returns whether there was a cell.
    pub(in crate::heap) fn with_spare_cell(
        &self,
        tx: &mut Tx<'_>,
        bytes: u64,
        stage: impl FnOnce(&mut Tx<'_>, Off) -> Result<bool>,
    ) -> Result<bool> {
        debug_assert!(bytes <= MAX_CELL);
        let class = class_of(bytes);
        let Some(cell) = self.peek_cell(tx, class) else {
            return Ok(false);
        };
        if stage(tx, cell)? {
            self.take_cell(tx, class as u64, cell);
        }
        Ok(true)
    }

    /// Counts the free cells of `class`, up to `count`.
    fn free_cells(tx: &Tx<'_>, class: usize, count: u64) -> u64 {
        let mut free = 0;
        let mut slab = tx.get(header!(slabs[class]));
        while slab != 0 && free < count {
            free += CHUNK / cell_size(class as u64) - tx.get(chunk!(slab - 1, accounted));
            slab = tx.get(chunk!(slab - 1, next));
        }
        free
    }

    /// Returns the offset of a free cell of `class`, without taking it.
    fn peek_cell(&self, tx: &Tx<'_>, class: usize) -> Option<Off> {
        let index = tx.get(header!(slabs[class])).checked_sub(1)?;
        match tx.get(chunk!(index, stamp)) {
            0 => Some(self.chunk_at(index) + tx.get(chunk!(index, bump)) * cell_size(class as u64)),
            free => Some(free),
        }
    }

    /// Takes the cell that [`peek_cell`](Self::peek_cell) returned.
    fn take_cell(&self, tx: &mut Tx<'_>, class: u64, cell: Off) {
        let index = tx.get(header!(slabs[class])) - 1;
        if tx.get(chunk!(index, stamp)) == 0 {
            tx.add(chunk!(index, bump), 1);
        } else {
            tx.set(
                chunk!(index, stamp),
                self.word(cell + SERIAL).load(Ordering::Relaxed),
            );
        }
        tx.add(chunk!(index, accounted), 1);
        let full =
            tx.get(chunk!(index, stamp)) == 0 && tx.get(chunk!(index, bump)) == CHUNK / cell_size(class);
        if full {
            delist(tx, class, index);
        }
    }

    /// Frees a cell.
    pub(in crate::heap) fn free_cell(&self, tx: &mut Tx<'_>, cell: Off) {
        let Some(index) = self.chunk_of(cell) else { return };
        let class = tx.get(chunk!(index, class));
        let was_full =
            tx.get(chunk!(index, stamp)) == 0 && tx.get(chunk!(index, bump)) == CHUNK / cell_size(class);
        tx.set(cell, 0);
        tx.set(cell + SERIAL, tx.get(chunk!(index, stamp)));
        tx.set(chunk!(index, stamp), cell);
        tx.add(chunk!(index, accounted), -1);
        if was_full {
            enlist(tx, class, index);
        }
        let alone = tx.get(chunk!(index, next)) == 0 && tx.get(chunk!(index, prev)) == 0;
        if tx.get(chunk!(index, accounted)) == 0 && !alone {
            delist(tx, class, index);
            Self::unmake_slab(tx, index);
        }
    }

    /// Gives a slab without cells in use back to the chunks.
    fn unmake_slab(tx: &mut Tx<'_>, index: u64) {
        tx.set(chunk!(index, stamp), 0);
        tx.set(chunk!(index, bump), 0);
        tx.add(header!(used_bytes), -(CHUNK as i64));
        super::chunks::make_warm(tx, index, 0, CHUNK);
    }

    /// Makes chunks slabs of `class` until there are `count` free cells.
    pub(in crate::heap) fn grow(&self, class: usize, count: u64) -> Result<()> {
        let grow = &self.header().grow;
        self.lock_internal(grow, Rank::Grow)?;
        let answer = self.grow_locked(class, count);
        unlock_internal(grow, Rank::Grow);
        answer
    }

    /// Frees the chunk of a slab that a dead process was making, if it was making one.
    pub(in crate::heap) fn end_growth(&self, dead: u32) -> Result<()> {
        let grow = &self.header().grow;
        if !grow.mark_owner_dead(dead) {
            return Ok(());
        }
        let answer = if self.lock_internal(grow, Rank::Grow)? {
            self.drop_growing()
        } else {
            Ok(())
        };
        unlock_internal(grow, Rank::Grow);
        answer
    }

    /// Frees the chunk of a slab that was left half made.
    fn drop_growing(&self) -> Result<()> {
        match self.header().growing.load(Ordering::Acquire) {
            0 => Ok(()),
            left => self.free_block(left - 1, |tx| tx.set(header!(growing), 0)),
        }
    }

    /// Makes slabs under the lock.
    fn grow_locked(&self, class: usize, count: u64) -> Result<()> {
        // Left by a process that died here, or by an error.
        self.drop_growing()?;
        while self.transact(|tx| Ok(Self::free_cells(tx, class, count)))? < count {
            self.make_slab(class)?;
        }
        Ok(())
    }

    /// Makes a chunk a slab of `class`.
    fn make_slab(&self, class: usize) -> Result<()> {
        self.prepare(CHUNK)?;
        let taken = self.transact(|tx| {
            let taken = self.take(tx, CHUNK)?;
            tx.set(header!(growing), taken.index + 1);
            Ok(taken)
        })?;
        if let Err(error) = self.commit(taken, CHUNK) {
            self.free_block(taken.index, |tx| tx.set(header!(growing), 0))?;
            return Err(error);
        }
        self.transact(|tx| {
            let index = taken.index;
            tx.set(chunk!(index, state), kind::SLAB);
            tx.set(chunk!(index, class), class as u64);
            for field in [
                chunk!(index, accounted),
                chunk!(index, stamp),
                chunk!(index, bump),
            ] {
                tx.set(field, 0);
            }
            enlist(tx, class as u64, index);
            tx.set(header!(growing), 0);
            Ok(())
        })
    }
}

const _: () = assert!(CLASSES == 8 && MAX_CELL == 8 << 10);
