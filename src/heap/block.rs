//! Blocks: bytes on their way from one process to another, with the references they carry.
//!
//! A large message, the arguments of a process and its result are blocks. A block has one owner at a time: the process
//! that fills it, then whatever it is handed to (a queue, an entry of the process table), then the process that reads it.
//! Behind the payload stands the list of objects it refers to; [`EXTRA`] says how many of them are counted so far, so a
//! death while the list is counted up or down leaves it exact.

use super::chunks::split;
use super::layout::{CHUNK, EXTRA, HEAD, LEN, MAX_CELL, Off, chunk, entry, kind};
use super::object::{Facts, Object, ObjectKind, refer, write_head};
use super::references::Slotted;
use super::release::Detached;
use super::tx::Tx;
use super::{Heap, fork};
use crate::error::{Error, Result};
use crate::wait::atomic::Ordering;
use core::ops::{Deref, DerefMut};

/// The kind of a block.
pub(crate) const BLOCK: ObjectKind = ObjectKind {
    number: 1,
    name: "block",
    on_holder_death: |_, _, _, _| Ok(()),
    clear: |heap, off| heap.drop_carried(off),
    describe: |heap, off| {
        Facts::of([
            ("bytes", heap.word(off + LEN).load(Ordering::Relaxed)),
            ("references", heap.word(off + EXTRA).load(Ordering::Relaxed)),
        ])
    },
};

/// References counted in one transaction.
const BATCH: u64 = 64;

/// A block that this process owns.
#[derive(Debug)]
pub(crate) struct Block {
    heap: &'static Heap,
    off: Off,
    slot: u64,
    len: u64,
}

// SAFETY: a block is plain bytes with one owner; the owner may be any thread.
#[allow(unsafe_code)]
unsafe impl Sync for Block {}

impl Block {
    /// A block for `len` bytes, whose contents are arbitrary, and `carried` references.
    pub(crate) fn new(heap: &'static Heap, len: u64, carried: u64) -> Result<Self> {
        let bytes = HEAD + len.next_multiple_of(8) + 8 * carried;
        let wrap = |off, slot| {
            heap.word(off + LEN).store(len, Ordering::Relaxed);
            Self { heap, off, slot, len }
        };
        if bytes <= MAX_CELL {
            heap.make(&BLOCK, bytes, 0, wrap)
        } else {
            heap.make_large(&BLOCK, bytes, 0, false, wrap)
        }
    }

    /// A block with these bytes, referring to these objects, which the caller refers to meanwhile.
    pub(crate) fn with(heap: &'static Heap, bytes: &[u8], objects: &[Off]) -> Result<Self> {
        let mut block = Self::new(heap, bytes.len() as u64, objects.len() as u64)?;
        block.copy_from_slice(bytes);
        block.carry(objects)?;
        Ok(block)
    }

    /// A block for `len` bytes, whose contents are arbitrary, referring to these objects.
    pub(crate) fn carrying(heap: &'static Heap, len: u64, objects: &[&Object]) -> Result<Self> {
        let block = Self::new(heap, len, objects.len() as u64)?;
        let offs: Vec<Off> = objects.iter().map(|object| object.off()).collect();
        block.carry(&offs)?;
        Ok(block)
    }

    fn carry(&self, objects: &[Off]) -> Result<()> {
        let list = self.heap.carried_list(self.off);
        for (i, &object) in objects.iter().enumerate() {
            self.heap
                .word(list + 8 * i as u64)
                .store(object, Ordering::Relaxed);
        }
        for batch in objects.chunks(BATCH as usize) {
            self.heap.transact(|tx| {
                for &object in batch {
                    refer(tx, object);
                }
                tx.add(self.off + EXTRA, batch.len() as i64);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The objects it carries references to.
    pub(crate) fn carried(&self) -> Vec<Off> {
        let (list, n) = (
            self.heap.carried_list(self.off),
            self.heap.word(self.off + EXTRA).load(Ordering::Acquire),
        );
        (0..n)
            .map(|i| self.heap.word(list + 8 * i).load(Ordering::Relaxed))
            .collect()
    }

    /// Where it is.
    pub(crate) fn off(&self) -> Off {
        self.off
    }

    /// Where the payload is in this process.
    pub(crate) fn address(&self) -> *mut u8 {
        self.heap.address(self.off + HEAD, self.len)
    }

    /// Bytes of payload.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Runs a transaction that gives the block to something else, which `stage` stages. Then the block is to be
    /// [`given`](Self::given).
    pub(crate) fn give(&self, stage: impl Fn(&mut Tx<'_>)) -> Result<()> {
        let entry = self.heap.my_entry();
        self.heap.transact_apart(entry, self.slot, |tx, slot| {
            if let Some(slot) = slot {
                slot.clear(tx);
            }
            stage(tx);
            Ok(())
        })
    }

    /// To be called when a transaction that gave the block away was carried out.
    pub(crate) fn given(self) {
        core::mem::forget(self);
    }

    /// Takes, in a transaction that removes it from where it was, a block; `stage` names it.
    pub(crate) fn take(
        heap: &'static Heap,
        stage: impl Fn(&mut Tx<'_>) -> Result<Option<Off>>,
    ) -> Result<Option<Self>> {
        loop {
            match Self::take_into_spare(heap, 1, &stage)? {
                Slotted::Done(block) => return Ok(Some(block)),
                Slotted::Nothing => return Ok(None),
                Slotted::NoSlot => heap.make_slots()?,
            }
        }
    }

    /// The same for those who hold locks: where this process has less than so many free slots, they call
    /// [`make_slots_for`](Heap::make_slots_for) when they do not any more.
    pub(crate) fn take_into_spare(
        heap: &'static Heap,
        slots: u64,
        stage: impl FnOnce(&mut Tx<'_>) -> Result<Option<Off>>,
    ) -> Result<Slotted<Self>> {
        let taken = heap.with_spare_slots(slots, |tx, slot| {
            let off = stage(tx)?;
            if let Some(off) = off {
                heap.reach_whole(tx, off)?;
                slot.hold(tx, off);
            }
            Ok(off)
        })?;
        let wrap = |(off, slot)| {
            let len = heap.word(off + LEN).load(Ordering::Relaxed);
            Self { heap, off, slot, len }
        };
        Ok(taken.map(wrap))
    }
}

impl Deref for Block {
    type Target = [u8];
    #[allow(unsafe_code)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the payload lies in committed memory of the heap behind the head; this process owns the block (its
        // hold slot says so), nobody else writes to it, and it is not freed before the slot is cleared, on drop.
        unsafe { core::slice::from_raw_parts(self.address(), self.len as usize) }
    }
}

impl DerefMut for Block {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` makes this the only reference in the owner.
        unsafe { core::slice::from_raw_parts_mut(self.address(), self.len as usize) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.heap.release(self.slot);
    }
}

impl Heap {
    /// Offset of a block's list of references.
    fn carried_list(&self, off: Off) -> Off {
        off + HEAD + self.word(off + LEN).load(Ordering::Relaxed).next_multiple_of(8)
    }

    /// Makes an object of chunks of its own; its contents are arbitrary unless they are to be `zeroed`. `wrap` makes a handle
    /// of offset and number of the slot, before this process can fork again.
    pub(super) fn make_large<T>(
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
            // What it was used for before; the memory that is added is zero.
            let warm = self.word(chunk!(taken.index, committed)).load(Ordering::Relaxed);
            self.clear(off, warm.min(bytes));
        }
        let made = self.commit(taken, bytes).and_then(|()| {
            // A child that was forked up to here has no reference: it was raw.
            let _steady = fork::steady();
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

    /// The chunk whose block starts at `off`; `None` for a cell.
    pub(super) fn own_chunk(&self, off: Off) -> Option<u64> {
        let index = self.chunk_of(off)?;
        let kind = split(self.word(chunk!(index, state)).load(Ordering::Acquire)).0;
        (kind != kind::SLAB).then_some(index)
    }

    /// Sees to it that this process can touch all of the object or block at `off`, which it is about to refer to.
    pub(super) fn reach_whole(&self, tx: &Tx<'_>, off: Off) -> Result<()> {
        // A cell is inside of a chunk. What has chunks of its own begins with one, and ends where its memory does.
        let len = match self.chunk_of(off) {
            Some(index) if off == self.chunk_at(index) => tx.get(chunk!(index, committed)),
            _ => 0,
        };
        self.reach(off, len.max(CHUNK - off % CHUNK))
    }

    /// Whether `off` is a block that is not ready, whose memory must not be touched.
    pub(super) fn is_raw(&self, tx: &Tx<'_>, off: Off) -> bool {
        self.chunk_of(off)
            .is_some_and(|index| split(tx.get(chunk!(index, state))).0 == kind::RAW)
    }

    /// The same in the middle of a transaction that has not changed what `off` is.
    pub(super) fn is_raw_now(&self, off: Off) -> bool {
        self.chunk_of(off).is_some_and(|index| {
            let state = self.word(chunk!(index, state)).load(Ordering::Acquire);
            split(state).0 == kind::RAW
        })
    }

    /// Whether `off` may be where an object is: in a slab, or at the start of a block in use. Its head can be looked at.
    pub(super) fn is_in_use(&self, tx: &Tx<'_>, off: Off) -> bool {
        self.chunk_of(off)
            .is_some_and(|index| match split(tx.get(chunk!(index, state))).0 {
                kind::SLAB => true,
                kind::USED => off == self.chunk_at(index),
                _ => false,
            })
    }

    /// Slots that this process needs for handles of what the block at `off` carries and it has none of yet. The block is that of
    /// somebody who does not pass it on meanwhile.
    #[inline]
    pub(crate) fn slots_for_carried(&self, off: Off) -> Result<u64> {
        self.reach(off, HEAD)?;
        match self.word(off + EXTRA).load(Ordering::Acquire) {
            0 => Ok(0),
            carried => self.count_strange(off, carried),
        }
    }

    #[cold]
    fn count_strange(&self, off: Off, carried: u64) -> Result<u64> {
        let list = self.carried_list(off);
        self.reach(off, list + 8 * carried - off)?;
        let mut offs: Vec<Off> = (0..carried)
            .map(|i| self.word(list + 8 * i).load(Ordering::Relaxed))
            .collect();
        offs.sort_unstable();
        offs.dedup();
        Ok(Self::count_unknown(&offs))
    }

    /// Gives up, one by one, the references a block carries.
    fn drop_carried(&self, off: Off) -> Result<()> {
        let list = self.carried_list(off);
        while self.word(off + EXTRA).load(Ordering::Acquire) > 0 {
            let detached = self.detach(|tx| {
                let Some(left) = tx.get(off + EXTRA).checked_sub(1) else {
                    return Ok(None);
                };
                tx.set(off + EXTRA, left);
                Ok(Some(tx.get(list + 8 * left)))
            })?;
            if let Detached::Last(doomed) = detached {
                self.free_detached(doomed)?;
            }
        }
        Ok(())
    }

    /// Puts a block that this process owns into word `field` of entry `index` (`start` or `result`).
    #[allow(clippy::unused_self, reason = "a block is handed to an entry of its own heap")]
    pub(crate) fn hand_to_entry(&self, block: Block, field: Off) -> Result<()> {
        block.give(|tx| tx.set(field, block.off()))?;
        block.given();
        Ok(())
    }

    /// Takes the block out of word `field` of an entry, if there is one.
    pub(crate) fn take_from_entry(&'static self, field: Off) -> Result<Option<Block>> {
        Block::take(self, |tx| {
            let off = tx.get(field);
            tx.set(field, 0);
            Ok((off != 0).then_some(off))
        })
    }
}

/// The fields blocks are kept in.
pub(crate) fn start_field(index: u64) -> Off {
    entry!(index, start)
}

/// See [`start_field`].
pub(crate) fn result_field(index: u64) -> Off {
    entry!(index, result)
}
