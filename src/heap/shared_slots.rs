//! Which slot this process has for which object: one for all its handles, wherever each came from.
//!
//! So what is noted in the slot (permits that this process has, items it works on) is noted of the process and not of a
//! handle, and may be taken through one and given back through another. A slot whose note says that the process has
//! something stays when the last handle goes: should the process die so, a survivor must find it.

use super::Heap;
use super::fork;
use super::layout::Off;
use super::object::Object;
use crate::error::Result;
use crate::wait::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A slot and how many handles share it; none where only the note keeps it.
struct Use {
    slot: u64,
    handles: u64,
}

/// Locked only by who keeps this process from forking, so that no child finds it locked.
static SLOTS: Mutex<BTreeMap<Off, Use>> = Mutex::new(BTreeMap::new());

fn slots() -> MutexGuard<'static, BTreeMap<Off, Use>> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heap {
    /// A handle for the object at `off`, through the slot that this process has for it, or else one that `fill` fills.
    ///
    /// `is_it` says whether what this process has there is what was meant: since the caller looked, another thread may
    /// have given that up and made something else in its place. It is asked where nobody here can give it up.
    pub(super) fn share(
        off: Off,
        is_it: impl FnOnce() -> Result<bool>,
        fill: impl FnOnce() -> Result<Option<u64>>,
    ) -> Result<Option<Object>> {
        let _steady = fork::steady();
        let mut slots = slots();
        if let Some(known) = slots.get_mut(&off) {
            if !is_it()? {
                return Ok(None);
            }
            known.handles += 1;
            return Ok(Some(Object::of(off, known.slot)));
        }
        let Some(slot) = fill()? else { return Ok(None) };
        slots.insert(off, Use { slot, handles: 1 });
        Ok(Some(Object::of(off, slot)))
    }

    /// A handle goes away, and with the last one the reference.
    pub(super) fn let_go(&self, off: Off) {
        let _steady = fork::steady();
        let mut slots = slots();
        let Some(known) = slots.get_mut(&off) else { return };
        known.handles -= 1;
        let note = self.word(self.note_at(known.slot)).load(Ordering::Relaxed);
        let noted = note.cast_signed() > 0;
        if known.handles > 0 || noted {
            return;
        }
        let slot = known.slot;
        slots.remove(&off);
        drop(slots);
        // An error here is memory running out while giving memory up; what remains is found when this process ends.
        let _ = self.release(slot);
    }
}
