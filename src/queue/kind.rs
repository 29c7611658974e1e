//! Queues as a kind of object: what the heap does with one when a process that used it dies, and when nobody uses it.

use super::layout::RingLayout;
use super::view::View;
use crate::codec::SharedKind;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::{HEAD, Off};
use crate::heap::object::{Facts, ObjectKind};
use crate::heap::registration::{tell, try_tell};
use crate::heap::release::Detached;
use crate::wait::atomic::Ordering;
use core::mem::offset_of;

/// The kind of every queue.
pub(crate) const QUEUE: ObjectKind = ObjectKind {
    number: 2,
    name: "queue",
    on_holder_death,
    clear,
    describe: |heap, off| {
        let view = View::of(heap, off);
        Facts::of([
            ("messages", view.len_hint()),
            ("capacity", view.capacity()),
            ("unfinished", view.unfinished()),
            ("shut down", u64::from(view.is_closed())),
        ])
    },
};

/// Names the kind for [`Handle`](crate::codec::Handle).
pub(crate) enum RingKind {}

impl SharedKind for RingKind {
    type Layout = RingLayout;
    const KIND: &'static ObjectKind = &QUEUE;
}

/// Returns the heap as blocks need it: for as long as the program lives.
pub(super) fn lasting() -> &'static Heap {
    Heap::existing().expect("there is a queue, so there is a heap")
}

/// Restores what a process was changing that used the queue and died, and sends the wake-ups that it owed.
fn on_holder_death(heap: &Heap, off: Off, dead: u32, tally: Off) -> Result<()> {
    let view = View::of(heap, off);
    // Taking a lock repairs what it protects.
    if view.layout.tail_lock.mark_owner_dead(dead) {
        drop(view.lock_tail(None)?);
    }
    if view.layout.head_lock.mark_owner_dead(dead) {
        drop(view.lock_head(None)?);
    }
    if view.tracks_consumers() {
        view.lose(tally)?;
    }
    view.notify_everybody()
}

/// Drops the messages and the segments. The last reference to the queue is gone.
fn clear(heap: &Heap, off: Off) -> Result<()> {
    let view = View::of(heap, off);
    view.discard()?;
    let segment = view.layout.head_segment.load(Ordering::Acquire);
    if segment != 0 && segment != view.first_segment() {
        let first = view.first_segment();
        heap.word(first).store(0, Ordering::Relaxed);
        let detached = heap.detach(|tx| {
            for field in [
                offset_of!(RingLayout, head_segment),
                offset_of!(RingLayout, tail_segment),
            ] {
                tx.set(view.field(field), first);
            }
            for field in [offset_of!(RingLayout, taken), offset_of!(RingLayout, tail)] {
                tx.set(view.field(field), 0);
            }
            Ok(Some(segment - HEAD))
        })?;
        if let Detached::Last(doomed) = detached {
            heap.free_detached(doomed)?;
        }
    }
    Ok(())
}

/// Shuts down the ring at `off`, to which a process refers. If the process that runs this dies half-way,
/// another one runs it again.
pub(crate) fn shut(heap: &Heap, off: Off, discard: bool) -> Result<()> {
    View::of(heap, off).shutdown(discard)
}

impl View<'_> {
    /// Lets no more messages in; `discard` also drops the messages that are there.
    pub(crate) fn shutdown(&self, discard: bool) -> Result<()> {
        self.close()?;
        self.notify_everybody()?;
        if discard {
            for _ in 0..self.discard()? {
                // No consumer has taken these: they are on no tally.
                if self.finish(0).is_err() {
                    break;
                }
            }
            self.notify_everybody()?;
        }
        Ok(())
    }

    /// Lets no more messages in. Under the tail lock, so that no put succeeds after it.
    fn close(&self) -> Result<()> {
        let _guard = self.lock_tail(None)?;
        self.layout.closed.store(1, Ordering::Release);
        Ok(())
    }

    fn notify_everybody(&self) -> Result<()> {
        let layout = self.layout;
        for event_count in [&layout.not_empty, &layout.not_full, &layout.all_done] {
            event_count.wake_unconditionally();
        }
        try_tell(self.heap, self.registrations())
    }

    /// Tells the registered selectors that there may be a message.
    pub(super) fn tell_registered(&self) {
        tell(self.heap, self.registrations());
    }
}
