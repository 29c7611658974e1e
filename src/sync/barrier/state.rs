//! A barrier in shared memory, and what its transactions do.

use crate::codec::SharedKind;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::tx::Tx;
use crate::heap::waiter::{wait_state, waiter};
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::EventCount;

/// A barrier in shared memory. Only transactions change it.
#[repr(C, align(64))]
pub(crate) struct BarrierLayout {
    head: Head,
    pub(super) parties: AtomicU64,
    /// Parties that have arrived in this generation. If all have, the last one is at its action.
    pub(super) count: AtomicU64,
    /// Generations that have ended.
    pub(super) generation: AtomicU64,
    /// 1 from the end of a broken generation to `reset`.
    pub(super) broken: AtomicU64,
    /// How the last generations ended, the latest in bit 0; 1 means broken.
    pub(super) outcomes: AtomicU64,
    /// The latest generation that was broken, plus one.
    pub(super) last_broken: AtomicU64,
    pub(super) event_count: EventCount,
    _pad: u32,
}

// SAFETY: repr(C), atomics (an event count is one) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for BarrierLayout {}

/// Returns the offset of a field of the barrier at `off`.
macro_rules! barrier {
    ($off:expr, $field:ident) => {
        $off + core::mem::offset_of!($crate::sync::barrier::state::BarrierLayout, $field) as u64
    };
}
pub(super) use barrier;

/// The kind of every barrier.
pub(crate) const BARRIER: ObjectKind = ObjectKind {
    number: 8,
    name: "barrier",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe: |heap, off| {
        let shared = heap.shared::<BarrierLayout>(off);
        Facts::of([
            ("parties", shared.parties.load(Ordering::Relaxed)),
            ("waiting", shared.count.load(Ordering::Relaxed)),
            ("broken", shared.broken.load(Ordering::Relaxed)),
        ])
    },
};

/// Names the kind for [`Handle`](crate::codec::Handle).
pub(crate) enum BarrierKind {}

impl SharedKind for BarrierKind {
    type Layout = BarrierLayout;
    const KIND: &'static ObjectKind = &BARRIER;
}

/// Wakes the waiting parties: the process may have died between ending a generation and waking them.
#[allow(clippy::unnecessary_wraps, reason = "as all kinds' functions")]
fn on_holder_death(heap: &Heap, off: Off, _dead: u32, _tally: Off) -> Result<()> {
    heap.shared::<BarrierLayout>(off)
        .event_count
        .wake_unconditionally();
    Ok(())
}

/// Stages the end of the generation.
pub(super) fn end(tx: &mut Tx<'_>, off: Off, broken: bool) {
    let generation = tx.get(barrier!(off, generation));
    if broken {
        tx.set(barrier!(off, last_broken), generation + 1);
        tx.set(barrier!(off, broken), 1);
    }
    let outcomes = tx.get(barrier!(off, outcomes));
    tx.set(barrier!(off, outcomes), outcomes << 1 | u64::from(broken));
    tx.set(barrier!(off, count), 0);
    // Last, because it is what the other parties look at.
    tx.set(barrier!(off, generation), generation + 1);
}

/// Stages the breaking of the barrier.
pub(super) fn break_it(tx: &mut Tx<'_>, off: Off) {
    if tx.get(barrier!(off, count)) > 0 {
        end(tx, off, true);
    }
    tx.set(barrier!(off, broken), 1);
}

/// Breaks the barrier at which the record at `who` stands, whose thread is dead, unless the record's generation is
/// over.
pub(in crate::sync) fn forsake(heap: &Heap, who: Off) -> Result<()> {
    let off = heap.transact(|tx| {
        let off = tx.get(waiter!(who, place));
        if tx.get(barrier!(off, generation)) == tx.get(waiter!(who, ticket)) {
            break_it(tx, off);
        }
        tx.set(waiter!(who, wait_state), wait_state::NOWHERE);
        Ok(off)
    })?;
    heap.shared::<BarrierLayout>(off)
        .event_count
        .wake_unconditionally();
    Ok(())
}
