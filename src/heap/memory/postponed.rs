//! References that this process could not give up: it tries again when it next gives one up.

use super::heap::Heap;
use super::layout::Off;
use super::steady::steady;
use std::sync::{Mutex, PoisonError};
// This process's own memory: no crash points, no model.
use std::sync::atomic::{AtomicBool, Ordering};

/// A reference that could not be given up because of an error.
#[derive(Clone, Copy)]
pub(in crate::heap) enum Postponed {
    /// A slot of the process with this owner id (a forked child's slot of that number is another).
    Slot(u32, u64),
    /// The slot that handles share for the object at this offset, if no handle is left.
    Handle(Off),
}

/// Locked only under the guard against forks, so a forked child never inherits it locked.
static POSTPONED: Mutex<Vec<Postponed>> = Mutex::new(Vec::new());
/// Whether the list may have entries: it is nearly always empty.
static ANY: AtomicBool = AtomicBool::new(false);

/// Records something to be given up later.
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
    /// Returns whether this process has something to give up that it could not give up before.
    #[allow(clippy::unused_self, reason = "there is one heap, so one list")]
    #[inline]
    pub(crate) fn has_postponed(&self) -> bool {
        ANY.load(Ordering::Relaxed)
    }
}
