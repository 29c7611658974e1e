//! One end of a pipe, as it lies in shared memory: what keeps the rings, and ends them when it goes.
//!
//! An end refers to the ring it reads and the ring it writes; a one-way pipe's have but one. Its last reference goes when the
//! last handle is dropped or the last process that has one is cleared up after: then both rings are shut down, so that the
//! peer reads what is left and then the end, and can write no more.

use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, Object, ObjectKind, SharedLayout, refer};
use crate::queue::ring::{self, Ring};
use crate::wait::atomic::{AtomicU64, Ordering};
use core::mem::offset_of;

/// An end in shared memory. The rings are 0 where there is none.
#[repr(C, align(64))]
struct PipeEndLayout {
    head: Head,
    inbox: AtomicU64,
    outbox: AtomicU64,
    _line: [u64; 2],
}

// SAFETY: repr(C), atomics and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for PipeEndLayout {}

const INBOX: Off = offset_of!(PipeEndLayout, inbox) as Off;
const OUTBOX: Off = offset_of!(PipeEndLayout, outbox) as Off;

/// The kind of every end.
pub(crate) const END: ObjectKind = ObjectKind {
    number: 11,
    name: "pipe's end",
    // The rings are repaired for whoever used them: each process that has the end has them, too.
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

/// A new end of these rings; what it may carry is `typed`.
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

/// The rings of an end that this process has a reference to: the one it reads and the one it writes.
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

/// The last reference is gone: nobody reads what comes in, nothing more goes out.
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
