//! Blocks: bytes on their way from one process to another, with the references they carry.
//!
//! A large message, the arguments of a process and its result are blocks. A block has one owner at a time: the process
//! that fills it, then the queue or the entry of the process table to which it is handed, then the process that reads
//! it. After the payload comes the list of objects it refers to. [`EXTRA`] is the number of them that are counted so
//! far, so a death while the list is counted up or down leaves it exact.

use super::head::refer;
use super::object::Object;
use super::references::Slotted;
use super::release::Detached;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::facts::Facts;
use crate::heap::memory::heap::ObjectKind;
use crate::heap::memory::layout::{EXTRA, HEAD, LEN, MAX_CELL, Off, entry};
use crate::heap::memory::tx::Tx;
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
    /// Makes a block for `len` bytes, whose contents are arbitrary, and `carried` references.
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

    /// Makes a block with these bytes that refers to these objects, to which the caller refers meanwhile.
    pub(crate) fn with(heap: &'static Heap, bytes: &[u8], objects: &[Off]) -> Result<Self> {
        let mut block = Self::new(heap, bytes.len() as u64, objects.len() as u64)?;
        block.copy_from_slice(bytes);
        block.carry(objects)?;
        Ok(block)
    }

    /// Makes a block for `len` bytes, whose contents are arbitrary, that refers to these objects.
    pub(crate) fn carrying(heap: &'static Heap, len: u64, objects: &[&Object]) -> Result<Self> {
        let block = Self::new(heap, len, objects.len() as u64)?;
        let offs: Vec<Off> = objects.iter().map(|object| object.off()).collect();
        block.carry(&offs)?;
        Ok(block)
    }

    /// Writes the list of objects, and counts the references.
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

    /// Returns the offsets of the objects it refers to.
    pub(crate) fn carried(&self) -> Vec<Off> {
        let (list, n) = (
            self.heap.carried_list(self.off),
            self.heap.word(self.off + EXTRA).load(Ordering::Acquire),
        );
        (0..n)
            .map(|i| self.heap.word(list + 8 * i).load(Ordering::Relaxed))
            .collect()
    }

    /// Returns its offset.
    pub(crate) fn off(&self) -> Off {
        self.off
    }

    /// Returns the address of the payload in this process.
    pub(crate) fn address(&self) -> *mut u8 {
        self.heap.address(self.off + HEAD, self.len)
    }

    /// Returns the bytes of payload.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Runs a transaction that hands the block over, which `stage` stages. After it the caller calls
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

    /// Forgets the block, after a transaction that handed it over was carried out.
    pub(crate) fn given(self) {
        core::mem::forget(self);
    }

    /// Takes a block in a transaction that removes it from its old place; `stage` names it.
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

    /// Takes a block as [`take`](Self::take) does, for callers that hold locks: if fewer than `slots` slots of this
    /// process are free, they release these, call [`make_slots_for`](Heap::make_slots_for), and try again.
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
        // SAFETY: the payload lies in committed memory of the heap after the head; this process owns the block (it is
        // in a slot of this process), no other process writes to it, and it is not freed before the slot is cleared,
        // on drop.
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
    /// Returns the offset of a block's list of references.
    fn carried_list(&self, off: Off) -> Off {
        off + HEAD + self.word(off + LEN).load(Ordering::Relaxed).next_multiple_of(8)
    }

    /// Returns the number of slots that this process lacks for handles to what the block at `off` carries. The
    /// owner of the block must not hand it over meanwhile.
    #[inline]
    pub(crate) fn slots_for_carried(&self, off: Off) -> Result<u64> {
        self.reach(off, HEAD)?;
        match self.word(off + EXTRA).load(Ordering::Acquire) {
            0 => Ok(0),
            carried => self.count_strange(off, carried),
        }
    }

    /// Counts the objects in the list to which this process has no slot.
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

    /// Puts a block of this process into word `field` of an entry (`start` or `result`).
    #[allow(clippy::unused_self, reason = "the counterpart of `take_from_entry`")]
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

/// Returns the offset of the word for the start message in an entry.
pub(crate) fn start_field(index: u64) -> Off {
    entry!(index, start)
}

/// Returns the offset of the word for the result in an entry.
pub(crate) fn result_field(index: u64) -> Off {
    entry!(index, result)
}
