//! Objects: what lives in the heap and is referred to from anywhere in the program.
//!
//! References are held by processes (a slot of the hold table) and by blocks that carry them (messages, arguments,
//! results). Each is made and given up in a transaction, so the count is always the number of holders, whoever died; but for
//! those that borrow a page of slots from another process, which holds for them: see `holds/loans.rs`.

use super::Heap;
use super::fork;
use super::layout::{EXTRA, HEAD, Head, LEN, MAX_CELL, MIN_CELL, Off, REFS, SERIAL};
use super::references::{Slotted, next_serial};
use super::tx::Tx;
use crate::error::{Error, Result};
use crate::wait::atomic::Ordering;
use std::sync::Arc;
// This process's own memory: no crash points, no model.
use std::sync::atomic::{AtomicU32, AtomicU64};

/// What an object's kind must be able to do.
#[derive(Debug)]
pub(crate) struct ObjectKind {
    /// A number from 1 to 255, in every object's first byte.
    pub number: u8,
    /// What to call it in messages.
    pub name: &'static str,
    /// Repairs the object after the death of a process that held it; the last argument is where that process's tally on
    /// it is. May be run again after a death half-way.
    pub on_holder_death: fn(&Heap, Off, u32, Off) -> Result<()>,
    /// Gives up what the object refers to, before its memory is freed. May be run again after a death half-way.
    pub clear: fn(&Heap, Off) -> Result<()>,
    /// What an object says of itself to whoever inspects the program. It reads, under the heap's latch, and takes no other.
    pub describe: fn(&Heap, Off) -> Facts,
}

/// What an object says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Owner id of the process that holds it, as a lock is held; 0: nobody.
    pub holder: u32,
    /// The thread of it that does; 0: not known.
    pub thread: u32,
    /// What can be said in numbers.
    pub figures: Vec<(&'static str, u64)>,
    /// What a process has of it (owner id, and how much) that is not in that process's tally.
    pub instead: Option<(u32, i64)>,
    /// Of the record of a waiting thread: what that waits for.
    pub waits: Option<Waits>,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The thread (gettid(2)).
    pub thread: u32,
    /// The object.
    pub object: Off,
    /// What it wants of it: "lock", "get", …
    pub what: &'static str,
    /// Since when, on the monotonic clock.
    pub since: u64,
}

impl Facts {
    /// Facts that are only numbers.
    pub(crate) fn of<const N: usize>(figures: [(&'static str, u64); N]) -> Self {
        Self {
            figures: figures.into(),
            ..Self::default()
        }
    }
}

/// Structures that may lie in shared memory: made of atomics only, valid for any bytes.
///
/// # Safety
///
/// The implementer consists of atomics (or plain padding) only and is `repr(C)`.
#[allow(unsafe_code)]
pub(crate) unsafe trait SharedLayout {}

#[allow(unsafe_code)]
// SAFETY: four 64-bit atomics.
unsafe impl SharedLayout for Head {}

/// The first word of an object of `kind` with `refs` references.
pub(super) fn counted(kind: u8, refs: u64) -> u64 {
    u64::from(kind) | refs << 8
}

/// Kind and references of an object's first word.
pub(super) fn uncount(word: u64) -> (u8, u64) {
    (word as u8, word >> 8)
}

/// Stages the head of a new object with one reference.
pub(super) fn write_head(tx: &mut Tx<'_>, off: Off, kind: &ObjectKind, extra: u64) {
    tx.set(off + REFS, counted(kind.number, 1));
    let serial = next_serial(tx);
    tx.set(off + SERIAL, serial);
    tx.set(off + EXTRA, extra);
}

/// Stages one reference more.
pub(crate) fn refer(tx: &mut Tx<'_>, off: Off) {
    tx.add(off + REFS, 1 << 8);
}

/// What an object cannot be made for want of.
enum Missing {
    Slot,
    Cell,
}

/// A reference of this process to an object; all that it has to one object share a slot, and the last one dropped gives
/// it up.
#[derive(Clone, Debug)]
pub(crate) struct Object(Arc<HeldReference>);

#[derive(Debug)]
struct HeldReference {
    off: Off,
    slot: u64,
    /// Where the tally is, for the process of this owner id: a forked child has its own elsewhere.
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
    /// Where it is.
    pub(crate) fn off(&self) -> Off {
        self.0.off
    }

    pub(super) fn slot(&self) -> u64 {
        self.0.slot
    }

    /// A handle that [`Heap::share`] has counted.
    pub(super) fn of(off: Off, slot: u64) -> Self {
        Self(Arc::new(HeldReference {
            off,
            slot,
            tally: AtomicU64::new(0),
            noted_for: AtomicU32::new(0),
        }))
    }

    /// Where the tally of the process `me` is, which `find` finds out the first time.
    #[inline]
    pub(super) fn tally(&self, me: u32, find: impl FnOnce() -> Result<Off>) -> Result<Off> {
        let held = &self.0;
        if held.noted_for.load(Ordering::Acquire) == me {
            return Ok(held.tally.load(Ordering::Relaxed));
        }
        let tally = find()?;
        held.tally.store(tally, Ordering::Relaxed);
        held.noted_for.store(me, Ordering::Release);
        Ok(tally)
    }

    /// The object's number, unlike that of any other object of the program, ever.
    pub(crate) fn serial(&self, heap: &Heap) -> u64 {
        heap.word(self.off() + SERIAL).load(Ordering::Relaxed)
    }
}

impl Heap {
    /// Makes an object of `bytes` (its [`Head`] included), all zero but for the head, referred to by this process.
    pub(crate) fn make_object(&self, kind: &ObjectKind, bytes: u64, extra: u64) -> Result<Object> {
        if bytes <= MAX_CELL {
            self.make(kind, bytes, extra, Self::introduce)
        } else {
            self.make_large(kind, bytes, extra, true, Self::introduce)
        }
    }

    /// The same in a cell; `wrap` makes a handle of offset and number of the slot, before this process can fork again.
    pub(super) fn make<T>(
        &self,
        kind: &ObjectKind,
        bytes: u64,
        extra: u64,
        wrap: impl FnOnce(Off, u64) -> T,
    ) -> Result<T> {
        loop {
            let missing = {
                let _steady = fork::steady();
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

    /// Slot and cell are taken together, so neither is ever without the other.
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

    /// One more reference of this process to an object that somebody it trusts refers to meanwhile.
    pub(crate) fn acquire(&self, off: Off) -> Result<Object> {
        let held = self.share(off, || Ok(true), || self.hold_if(off, |_| true))?;
        held.ok_or(Error::OutOfMemory { requested: 8 })
    }

    /// One more reference of this process to the object at `off`, if that is (still) the one with this kind, type and
    /// serial number, and somebody refers to it.
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

    /// One more reference of this process to the object whose offset stands in `field`, a word of an object that it refers to. The
    /// word itself is no reference: it is changed before the object's memory is freed. `None` where the object is being given
    /// up, or there is none.
    pub(crate) fn acquire_uncounted(&self, field: Off) -> Result<Option<Object>> {
        let off = self.word(field).load(Ordering::Acquire);
        if off == 0 || !off.is_multiple_of(MIN_CELL) {
            return Ok(None);
        }
        let is_there = |tx: &Tx<'_>| tx.get(field) == off && uncount(tx.get(off + REFS)).1 > 0;
        let look = || self.transact(|tx| Ok(is_there(tx)));
        self.share(off, look, || self.hold_if(off, is_there))
    }

    /// Takes a reference into a slot of this process, if `is_there` says so in the same transaction; gives the slot.
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

    /// Kind number and type of the object at `off`.
    pub(crate) fn kind_of(&self, off: Off) -> (u8, u64) {
        let head: &Head = self.shared(off);
        (
            uncount(head.refs.load(Ordering::Relaxed)).0,
            head.extra.load(Ordering::Relaxed),
        )
    }

    pub(super) fn kind(&self, number: u8) -> Option<&'static ObjectKind> {
        self.kinds.iter().find(|kind| kind.number == number).copied()
    }
}

/// Payloads start behind the head and its padding.
const _: () = assert!(size_of::<Head>() as u64 <= HEAD && LEN == 24);
