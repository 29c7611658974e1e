//! What becomes of where the threads of a dead process stood.

use super::{barrier, line};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::Off;
use crate::heap::object::Kind;
use crate::heap::waiter::{self, standing};
use crate::wait::atomic::Ordering;

/// The kind of every waiter.
pub(crate) const WAITER: Kind = Kind {
    number: waiter::WAITER,
    name: "waiter",
    bury,
    empty: |_, _| Ok(()),
    describe: waiter::describe,
};

/// A thread died where it stood: a call to it goes to the next, a barrier it had arrived at is broken.
fn bury(heap: &Heap, who: Off, _dead: u32, _note: Off) -> Result<()> {
    let waiter: &waiter::Waiter = heap.shared(who);
    match waiter.standing.load(Ordering::Acquire) {
        standing::NOWHERE => {}
        standing::AT_BARRIER => barrier::forsake(heap, who)?,
        _ => {
            if let Some(next) = heap.transact(|tx| Ok(line::abandon(tx, who)))? {
                line::wake(heap, next);
            }
        }
    }
    Ok(())
}
