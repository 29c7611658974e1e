//! Which slot this process has for which object: one for all its handles, wherever each came from.
//!
//! So what is noted in the slot (permits that this process has, items it works on) is noted of the process and not of a
//! handle, and may be taken through one and given back through another. A slot whose tally says that the process has
//! something stays when the last handle goes: should the process die so, a survivor must find it.

use super::Heap;
use super::fork;
use super::layout::Off;
use super::object::Object;
use super::references::Slotted;
use super::release::{Postponed, postpone};
use crate::error::Result;
use crate::wait::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A slot and how many handles share it; none where only the tally keeps it.
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
    /// A handle for an object that this process has just made, in slot `slot`. The caller keeps it from forking.
    pub(super) fn introduce(off: Off, slot: u64) -> Object {
        let _steady = fork::steady();
        slots().insert(off, Use { slot, handles: 1 });
        Object::of(off, slot)
    }

    /// A handle for the object at `off`, through the slot that this process has for it, or else one that `fill` fills.
    ///
    /// `is_it` says whether what this process has there is what was meant: since the caller looked, another thread may
    /// have given that up and made something else in its place. It is asked where nobody here can give it up.
    pub(super) fn share(
        &self,
        off: Off,
        is_it: impl Fn() -> Result<bool>,
        fill: impl Fn() -> Result<Slotted<u64>>,
    ) -> Result<Option<Object>> {
        loop {
            {
                let _steady = fork::steady();
                let mut slots = slots();
                if let Some(known) = slots.get_mut(&off) {
                    if !is_it()? {
                        return Ok(None);
                    }
                    known.handles += 1;
                    return Ok(Some(Object::of(off, known.slot)));
                }
                match fill()? {
                    Slotted::Nothing => return Ok(None),
                    Slotted::Done(slot) => {
                        slots.insert(off, Use { slot, handles: 1 });
                        return Ok(Some(Object::of(off, slot)));
                    }
                    Slotted::NoSlot => {}
                }
            }
            self.make_slots()?;
        }
    }

    /// Returns how many of these objects this process has no slot for.
    pub(super) fn count_unknown(objects: &[Off]) -> u64 {
        let _steady = fork::steady();
        let slots = slots();
        objects.iter().filter(|off| !slots.contains_key(off)).count() as u64
    }

    /// A handle goes away, and with the last one the reference.
    pub(super) fn let_go(&self, off: Off) {
        let steady = fork::steady();
        let mut slots = slots();
        let Some(known) = slots.get_mut(&off) else { return };
        known.handles -= 1;
        let given_up = self.give_up_unused(&mut slots, off);
        drop(slots);
        drop(steady);
        match given_up {
            Ok(Some((slot, last))) => self.free_last(slot, last),
            Ok(None) => {}
            // It stays known, so that another handle finds it.
            Err(_) => postpone(Postponed::Handle(off)),
        }
    }

    /// Tries again to give up the reference to an object of which this process has no handle any more.
    pub(super) fn let_go_unused(&self, off: Off) -> Result<()> {
        let given_up = {
            let _steady = fork::steady();
            self.give_up_unused(&mut slots(), off)?
        };
        if let Some((slot, last)) = given_up {
            self.free_last(slot, last);
        }
        Ok(())
    }

    /// Gives up the reference to `off` where no handle and no tally keeps it: its slot, and what is to be freed in it.
    #[allow(
        clippy::type_complexity,
        reason = "the answer of `give_up` and the slot it was asked about"
    )]
    fn give_up_unused(
        &self,
        slots: &mut BTreeMap<Off, Use>,
        off: Off,
    ) -> Result<Option<(u64, Option<(Off, u8)>)>> {
        let Some(known) = slots.get(&off) else {
            return Ok(None);
        };
        let slot = known.slot;
        let has_tally = || {
            let tally = self.word(self.tally_at(slot)).load(Ordering::Relaxed);
            tally.cast_signed() > 0
        };
        if known.handles > 0 || has_tally() {
            return Ok(None);
        }
        let last = self.give_up(self.my_entry(), slot)?;
        slots.remove(&off);
        Ok(Some((slot, last)))
    }
}
