//! The table of shared slots: all handles that this process has to one object share one slot, wherever each came from.
//!
//! So the tally in the slot (permits that this process has, items it works on) belongs to the process and not to a
//! handle: a permit may be taken through one handle and given back through another. A slot with a tally that is not
//! zero stays when the last handle goes: if the process dies then, a survivor must find it.
//!
//! Other threads wait for the table as for any mutex, and may hold what still others need (an interpreter's lock). So
//! no thread sleeps on a transaction while it holds the table. If another transaction is going on, the thread releases
//! the table, waits for the transaction, and looks at everything again.

use super::object::Object;
use super::references::Slotted;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::layout::Off;
use crate::heap::memory::limit::{awake, may_sleep};
use crate::heap::memory::postponed::{Postponed, postpone};
use crate::heap::memory::steady::steady;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A slot and the number of handles that share it; zero if only the tally keeps it.
struct Use {
    slot: u64,
    handles: u64,
}

/// Locked only under the guard against forks, so a forked child never inherits it locked, and never across a sleep.
static SLOTS: Mutex<BTreeMap<Off, Use>> = Mutex::new(BTreeMap::new());

/// Locks the table.
fn slots() -> MutexGuard<'static, BTreeMap<Off, Use>> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heap {
    /// Returns a handle for an object that this process has just made, in slot `slot`. The caller keeps the process
    /// from forking.
    pub(in crate::heap) fn introduce(off: Off, slot: u64) -> Object {
        let _steady = steady();
        slots().insert(off, Use { slot, handles: 1 });
        Object::of(off, slot)
    }

    /// Returns a handle for the object at `off`, through the slot that this process has for it, or else through one
    /// that `fill` fills.
    ///
    /// `is_it` says whether the object in the slot is the one that was meant: since the caller looked, another
    /// thread may have given that up and made another one in its place. It is called while no thread of this
    /// process can give the object up.
    pub(in crate::heap) fn share(
        &self,
        off: Off,
        is_it: impl Fn() -> Result<bool>,
        fill: impl Fn() -> Result<Slotted<u64>>,
    ) -> Result<Option<Object>> {
        let share = || {
            let _steady = steady();
            let mut slots = slots();
            if let Some(known) = slots.get_mut(&off) {
                if !is_it()? {
                    return Ok(Slotted::Nothing);
                }
                known.handles += 1;
                return Ok(Slotted::Done(Object::of(off, known.slot)));
            }
            Ok(match fill()? {
                Slotted::Nothing => Slotted::Nothing,
                Slotted::NoSlot => Slotted::NoSlot,
                Slotted::Done(slot) => {
                    slots.insert(off, Use { slot, handles: 1 });
                    Slotted::Done(Object::of(off, slot))
                }
            })
        };
        loop {
            match self.without_sleep(share)? {
                Slotted::Nothing => return Ok(None),
                Slotted::Done(object) => return Ok(Some(object)),
                Slotted::NoSlot => self.make_slots()?,
            }
        }
    }

    /// Repeats `attempt`, which holds the table and so must not sleep, until no transaction is in its way.
    fn without_sleep<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        loop {
            match awake(&attempt).0 {
                Err(Error::Busy) if may_sleep() => self.await_transaction()?,
                answer => return answer,
            }
        }
    }

    /// Waits until no transaction is going on.
    fn await_transaction(&self) -> Result<()> {
        self.transact(|_| Ok(()))
    }

    /// Counts those of these objects for which this process has no slot.
    pub(in crate::heap) fn count_unknown(objects: &[Off]) -> u64 {
        let _steady = steady();
        let slots = slots();
        objects.iter().filter(|off| !slots.contains_key(off)).count() as u64
    }

    /// Counts one handle less, and gives up the reference with the last one.
    pub(in crate::heap) fn let_go(&self, off: Off) {
        let given_up = {
            let _steady = steady();
            let mut slots = slots();
            let Some(known) = slots.get_mut(&off) else { return };
            known.handles -= 1;
            let (given_up, _) = awake(|| self.give_up_unused(&mut slots, off));
            if given_up.is_err() {
                // It stays in the table: another handle finds it there, and a child that is forked now knows that it
                // is due.
                postpone(Postponed::Handle(off));
            }
            given_up
        };
        match given_up {
            Ok(Some((slot, last))) => self.free_last(slot, last),
            Err(Error::Busy) if may_sleep() => {
                if self.await_transaction().is_ok() {
                    self.catch_up();
                }
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// Tries again to give up the reference to an object to which this process has no handle any more.
    pub(in crate::heap) fn let_go_unused(&self, off: Off) -> Result<()> {
        let given_up = self.without_sleep(|| {
            let _steady = steady();
            self.give_up_unused(&mut slots(), off)
        })?;
        if let Some((slot, last)) = given_up {
            self.free_last(slot, last);
        }
        Ok(())
    }

    /// Gives up the reference to `off` if no handle and no tally keeps it. Returns its slot, and what is to be
    /// freed in it.
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
        if known.handles > 0 || self.tally(slot) > 0 {
            return Ok(None);
        }
        let last = self.give_up(self.my_entry(), slot)?;
        slots.remove(&off);
        Ok(Some((slot, last)))
    }
}
