//! What this process has to give up and could not: it tries again when it next gives something up.

use super::heap::Heap;
use super::layout::Off;
use super::steady::steady;
use std::sync::{Mutex, PoisonError};
// This process's own memory: no crash points, no model.
use std::sync::atomic::{AtomicBool, Ordering};

/// What an error kept from being given up.
#[derive(Clone, Copy)]
pub(in crate::heap) enum Postponed {
    /// A slot of the process with this owner id (a forked child's slot of that number is another).
    Slot(u32, u64),
    /// The slot that handles share for the object at this offset, if there are none any more.
    Handle(Off),
}

/// Locked only by who keeps this process from forking.
static POSTPONED: Mutex<Vec<Postponed>> = Mutex::new(Vec::new());
/// Whether there may be any: nearly always there are none.
static ANY: AtomicBool = AtomicBool::new(false);

pub(in crate::heap) fn postpone(what: Postponed) {
    let _steady = steady();
    let mut postponed = POSTPONED.lock().unwrap_or_else(PoisonError::into_inner);
    postponed.push(what);
    ANY.store(true, Ordering::Relaxed);
}

/// Takes all that was postponed.
pub(in crate::heap) fn take_postponed() -> Vec<Postponed> {
    let _steady = steady();
    let mut postponed = POSTPONED.lock().unwrap_or_else(PoisonError::into_inner);
    ANY.store(false, Ordering::Relaxed);
    core::mem::take(&mut *postponed)
}

impl Heap {
    /// Whether this process has something to give up that it could not.
    #[allow(clippy::unused_self, reason = "there is one heap, so one list")]
    #[inline]
    pub(crate) fn has_postponed(&self) -> bool {
        ANY.load(Ordering::Relaxed)
    }
}
