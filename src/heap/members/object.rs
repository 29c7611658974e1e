//! Objects: things in the heap to which any process of the program may refer.
//!
//! References are held by processes (in a slot of the table of references) and by blocks that carry them (messages,
//! arguments, results). Each is made and given up in a transaction, so the count always equals the number of
//! references, whichever process dies. Processes that borrow a page of slots are not counted: the lender is counted
//! for them (see `references/loans.rs`).

use super::head::uncount;
use super::references::Slotted;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::layout::{EXTRA, Head, MIN_CELL, Off, REFS, SERIAL};
use crate::heap::memory::tx::Tx;
use crate::wait::atomic::Ordering;
use std::sync::Arc;
// This process's own memory: no crash points, no model.
use std::sync::atomic::{AtomicU32, AtomicU64};

// At their old paths, for the rooms below.
pub(crate) use super::head::refer;
pub(crate) use crate::heap::memory::facts::{Facts, Waits};
pub(crate) use crate::heap::memory::heap::ObjectKind;
pub(crate) use crate::heap::memory::layout::SharedLayout;

/// A handle of this process to an object. All handles that a process has to one object share a slot; the reference is
/// given up when the last of them is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Object(Arc<HeldReference>);

#[derive(Debug)]
struct HeldReference {
    off: Off,
    slot: u64,
    /// The offset of the tally of the process `noted_for`: a forked child has its own elsewhere.
    tally: AtomicU64,
    noted_for: AtomicU32,
}

impl Drop for HeldReference {
    fn drop(&mut self) {
        if let Some(heap) = Heap::existing() {
            heap.let_go(self.off);
        }
    }
}

impl Object {
    /// Returns its offset.
    pub(crate) fn off(&self) -> Off {
        self.0.off
    }

    /// Returns the number of its slot.
    pub(in crate::heap) fn slot(&self) -> u64 {
        self.0.slot
    }

    /// Returns a handle that [`Heap::share`] has counted.
    pub(in crate::heap) fn of(off: Off, slot: u64) -> Self {
        Self(Arc::new(HeldReference {
            off,
            slot,
            tally: AtomicU64::new(0),
            noted_for: AtomicU32::new(0),
        }))
    }

    /// Returns the offset of the tally of the process `me`, which `find` finds the first time.
    #[inline]
    pub(in crate::heap) fn tally(&self, me: u32, find: impl FnOnce() -> Result<Off>) -> Result<Off> {
        let held = &self.0;
        if held.noted_for.load(Ordering::Acquire) == me {
            return Ok(held.tally.load(Ordering::Relaxed));
        }
        let tally = find()?;
        held.tally.store(tally, Ordering::Relaxed);
        held.noted_for.store(me, Ordering::Release);
        Ok(tally)
    }

    /// Returns its serial number, which no other object of the program ever has.
    pub(crate) fn serial(&self, heap: &Heap) -> u64 {
        heap.word(self.off() + SERIAL).load(Ordering::Relaxed)
    }
}

impl Heap {
    /// Acquires a reference to an object that meanwhile is referred to by a process or block that this process
    /// trusts.
    pub(crate) fn acquire(&self, off: Off) -> Result<Object> {
        let held = self.share(off, || Ok(true), || self.hold_if(off, |_| true))?;
        held.ok_or(Error::OutOfMemory { requested: 8 })
    }

    /// Acquires a reference to the object at `off`, if that is (still) the one with this kind, type and serial
    /// number, and it has references.
    pub(crate) fn acquire_if_there(
        &self,
        off: Off,
        kind: u8,
        extra: u64,
        serial: u64,
    ) -> Result<Option<Object>> {
        if !off.is_multiple_of(MIN_CELL) || self.chunk_of(off).is_none() {
            return Ok(None);
        }
        self.reach(off, MIN_CELL)?;
        let is_there = |tx: &Tx<'_>| {
            if !self.is_in_use(tx, off) {
                return false;
            }
            let (is_kind, refs) = uncount(tx.get(off + REFS));
            let same = is_kind == kind && tx.get(off + EXTRA) == extra && tx.get(off + SERIAL) == serial;
            same && refs > 0
        };
        let look = || self.transact(|tx| Ok(is_there(tx)));
        self.share(off, look, || self.hold_if(off, is_there))
    }

    /// Acquires a reference to the object whose offset is in `field`, a word of an object that this process refers
    /// to. The word itself is no reference: it is changed before the memory of the object is freed. `None` if the
    /// object is being given up, or there is none.
    pub(crate) fn acquire_uncounted(&self, field: Off) -> Result<Option<Object>> {
        let off = self.word(field).load(Ordering::Acquire);
        if off == 0 || !off.is_multiple_of(MIN_CELL) {
            return Ok(None);
        }
        let is_there = |tx: &Tx<'_>| tx.get(field) == off && uncount(tx.get(off + REFS)).1 > 0;
        let look = || self.transact(|tx| Ok(is_there(tx)));
        self.share(off, look, || self.hold_if(off, is_there))
    }

    /// Takes a reference into a slot of this process, if `is_there` says so in the same transaction. Returns the
    /// number of the slot.
    fn hold_if(&self, off: Off, is_there: impl Fn(&Tx<'_>) -> bool) -> Result<Slotted<u64>> {
        let held = self.with_spare_slot(|tx, slot| {
            if !is_there(tx) {
                return Ok(None);
            }
            self.reach_whole(tx, off)?;
            refer(tx, off);
            slot.hold(tx, off);
            Ok(Some(()))
        })?;
        Ok(held.map(|((), slot)| slot))
    }

    /// Returns the offset of this process's tally on an object.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`]: without an entry there is no table to look into. As for a transaction.
    #[inline]
    pub(crate) fn tally_of(&self, object: &Object) -> Result<Off> {
        match self.me() {
            0 => Err(Error::NoIdentity),
            me => object.tally(me, || self.tally_at(object.slot())),
        }
    }

    /// Returns kind number and type of the object at `off`.
    pub(crate) fn kind_of(&self, off: Off) -> (u8, u64) {
        let head: &Head = self.shared(off);
        (
            uncount(head.refs.load(Ordering::Relaxed)).0,
            head.extra.load(Ordering::Relaxed),
        )
    }
}
