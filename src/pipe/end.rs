//! One end of a pipe in shared memory. It keeps the rings alive, and shuts them down when it is freed.
//!
//! An end refers to the ring it receives from and the ring it sends to; an end of a one-way pipe refers to one of them.
//! Its last reference is dropped with the last handle, or by recovery after the last process that had one. Then both
//! rings are shut down: the peer receives what is left and then the end of the messages, and can send no more.

use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, Object, ObjectKind, SharedLayout, refer};
use crate::queue::ring::{self, Ring};
use crate::wait::atomic::{AtomicU64, Ordering};
use core::mem::offset_of;

/// An end in shared memory.
#[repr(C, align(64))]
struct PipeEndLayout {
    head: Head,
    /// Offset of the ring it receives from, or 0.
    inbox: AtomicU64,
    /// Offset of the ring it sends to, or 0.
    outbox: AtomicU64,
    _line: [u64; 2],
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for PipeEndLayout {}

const INBOX: Off = offset_of!(PipeEndLayout, inbox) as Off;
const OUTBOX: Off = offset_of!(PipeEndLayout, outbox) as Off;

/// The object kind of ends.
pub(crate) const END: ObjectKind = ObjectKind {
    number: 11,
    name: "pipe's end",
    // A process that has an end holds references to its rings too, so the rings are repaired by their own kind.
    on_holder_death: |_, _, _, _| Ok(()),
    clear,
    describe: |heap, off| {
        let shared = heap.shared::<PipeEndLayout>(off);
        Facts::of([
            ("reads", shared.inbox.load(Ordering::Relaxed)),
            ("writes", shared.outbox.load(Ordering::Relaxed)),
        ])
    },
};

/// Makes an end of these rings. `typed` is the number of its message types.
pub(super) fn make(heap: &Heap, inbox: Option<&Ring>, outbox: Option<&Ring>, typed: u64) -> Result<Object> {
    let end = heap.make_object(&END, size_of::<PipeEndLayout>() as u64, typed)?;
    heap.transact(|tx| {
        for (field, ring) in [(INBOX, inbox), (OUTBOX, outbox)] {
            if let Some(ring) = ring {
                refer(tx, ring.object().off());
                tx.set(end.off() + field, ring.object().off());
            }
        }
        Ok(())
    })?;
    Ok(end)
}

/// Returns the rings of an end: the inbox and the outbox. This process must hold a reference to the end.
pub(super) fn rings(heap: &'static Heap, end: &Object) -> Result<[Option<Ring>; 2]> {
    let shared = heap.shared::<PipeEndLayout>(end.off());
    let ring = |off: Off| -> Result<_> {
        if off == 0 {
            return Ok(None);
        }
        Ok(Some(Ring::from_object(heap, heap.acquire(off)?)))
    };
    Ok([
        ring(shared.inbox.load(Ordering::Acquire))?,
        ring(shared.outbox.load(Ordering::Acquire))?,
    ])
}

/// Shuts both rings down and drops the references to them. The last reference to the end is gone.
fn clear(heap: &Heap, off: Off) -> Result<()> {
    for (field, discard) in [(OUTBOX, false), (INBOX, true)] {
        let ring = heap.word(off + field).load(Ordering::Acquire);
        if ring != 0 {
            ring::shut(heap, ring, discard)?;
            heap.drop_reference(off + field)?;
        }
    }
    Ok(())
}
