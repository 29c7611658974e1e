//! What is done about the waiting threads of a process that died.

use super::{barrier, wait_queue};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::Off;
use crate::heap::object::ObjectKind;
use crate::heap::waiter::{self, wait_state};
use crate::wait::atomic::Ordering;

/// The kind of every waiter.
pub(crate) const WAITER: ObjectKind = ObjectKind {
    number: waiter::WAITER,
    name: "waiter",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe: waiter::describe,
};

/// Takes a dead thread out of what it waited in: its notification goes to the next thread, its barrier is broken.
fn on_holder_death(heap: &Heap, who: Off, _dead: u32, _tally: Off) -> Result<()> {
    let waiter: &waiter::Waiter = heap.shared(who);
    match waiter.wait_state.load(Ordering::Acquire) {
        wait_state::NOWHERE => {}
        wait_state::AT_BARRIER => barrier::forsake(heap, who)?,
        _ => {
            if let Some(next) = heap.transact(|tx| Ok(wait_queue::abandon(tx, who)))? {
                wait_queue::wake(heap, next);
            }
        }
    }
    Ok(())
}
