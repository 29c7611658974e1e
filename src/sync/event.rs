//! An event: something has happened, or not yet.

use crate::codec::{Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::registration::{EventSource, tell, try_tell};
use crate::heap::waiter::{Announced, Purpose};
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::{Ended, EventCount, Wait};
use core::fmt;
use core::mem::offset_of;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The bit that says that the event is set. The bits above it count the sets.
const SET: u64 = 1;

#[repr(C, align(64))]
pub(crate) struct EventLayout {
    head: Head,
    /// [`SET`] and the count of sets, which change together.
    state: AtomicU64,
    /// The list of registrations by selectors that wait for this event among other things.
    registrations: AtomicU64,
    event_count: EventCount,
    _pad: u32,
}

// SAFETY: repr(C), atomics (an event count is one) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for EventLayout {}

/// Offset of the list of registrations in the event.
const REGISTRATIONS: Off = offset_of!(EventLayout, registrations) as Off;

/// The kind of every event.
pub(crate) const EVENT: ObjectKind = ObjectKind {
    number: 7,
    name: "event",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe: |heap, off| {
        let state = heap.shared::<EventLayout>(off).state.load(Ordering::Relaxed);
        Facts::of([("set", state & SET)])
    },
};

/// Names the kind for [`Handle`].
pub(crate) enum EventKind {}

impl SharedKind for EventKind {
    type Layout = EventLayout;
    const KIND: &'static ObjectKind = &EVENT;
}

/// Wakes the waiting threads: the process may have died between setting the event and waking them.
fn on_holder_death(heap: &Heap, off: Off, _dead: u32, _tally: Off) -> Result<()> {
    heap.shared::<EventLayout>(off).event_count.wake_unconditionally();
    try_tell(heap, off + REGISTRATIONS)
}

/// A flag between processes and threads that can be waited for. While it is set, nobody waits.
///
/// A handle can be cloned, passed to processes and sent through queues. An event has no lock. So a process that dies
/// leaves it either set or not set, and a signal handler may set it while the same thread waits for it. Not so if a
/// [`Selector`](crate::Selector) has it among its members: then setting it takes the heap's lock for a moment, and
/// belongs into code that [`on_interrupt`](crate::on_interrupt) runs, not into a handler that may come at any
/// instruction. A thread that waits when the event is set returns, also if it is cleared at once.
///
/// ```
/// use procession::{Event, Process};
///
/// # #[procession::main]
/// fn main() -> procession::Result<()> {
///     let start = Event::new()?;
///     let runner = Process::spawn(|start: Event| start.wait(), start.clone())?;
///     start.set();
///     runner.join()?
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event(Handle<EventKind>);

impl From<Handle<EventKind>> for Event {
    fn from(handle: Handle<EventKind>) -> Self {
        Self(handle)
    }
}

impl Event {
    /// Makes an event that is not set.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        Handle::new().map(Self)
    }

    #[inline]
    fn shared(&self) -> &EventLayout {
        self.0.layout()
    }

    /// Sets the event: all waiting threads go on, and none waits until it is cleared. Returns false if it was set
    /// already.
    pub fn set(&self) -> bool {
        let shared = self.shared();
        let changed = self.change(|state| (state & SET == 0).then_some((state + 2) | SET));
        if changed && shared.event_count.notify(u32::MAX) {
            tell(self.0.heap(), self.registrations());
        }
        changed
    }

    /// Clears the event. Returns false if it was not set.
    pub fn clear(&self) -> bool {
        self.change(|state| (state & SET != 0).then_some(state & !SET))
    }

    fn change(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        let word = &self.shared().state;
        let mut state = word.load(Ordering::Acquire);
        while let Some(new) = next(state) {
            match word.compare_exchange(state, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Returns true if the event is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.shared().state.load(Ordering::Acquire) & SET != 0
    }

    /// Waits until the event is set.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) asks for it.
    #[inline]
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Deadline::Never)
    }

    /// Waits as [`wait`](Self::wait) does, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; as for [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(Deadline::after(timeout))
    }

    #[inline]
    pub(crate) fn wait_until(&self, deadline: Deadline) -> Result<()> {
        if self.is_set() {
            return Ok(());
        }
        self.sleep_until_set(deadline)
    }

    #[inline(never)]
    fn sleep_until_set(&self, deadline: Deadline) -> Result<()> {
        let shared = self.shared();
        let before = shared.state.load(Ordering::Acquire);
        let mut until_set = UntilSet { event: self, before };
        match shared.event_count.attempt_or_wait(&mut until_set, deadline) {
            Ok(()) => Ok(()),
            Err(Ended::Late) => Err(Error::Timeout),
            Err(Ended::Interrupted) => Err(Error::Interrupted),
        }
    }

    pub(crate) fn handle(&self) -> &Handle<EventKind> {
        &self.0
    }
}

/// The wait until an event is set.
struct UntilSet<'e> {
    event: &'e Event,
    /// The state word when the wait began.
    before: u64,
}

impl Wait for UntilSet<'_> {
    type Answer = ();
    type Announced = Announced<'static>;
    const PASSES_BATON: bool = false;

    fn attempt(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }

    fn is_ready(&self) -> bool {
        // Set now, or set since the wait began.
        let now = self.event.shared().state.load(Ordering::Acquire);
        now & SET != 0 || now > self.before
    }

    fn announce(&self) -> Self::Announced {
        let handle = &self.event.0;
        handle.heap().waiting_for(handle.off(), Purpose::Event)
    }
}

impl EventSource for Event {
    fn is_ready(&self) -> bool {
        self.is_set()
    }

    fn event_count(&self) -> &EventCount {
        &self.shared().event_count
    }

    fn registrations(&self) -> Off {
        self.0.off() + REGISTRATIONS
    }

    fn keep(&self) -> Box<dyn EventSource> {
        Box::new(self.clone())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("set", &self.is_set())
            .finish_non_exhaustive()
    }
}
