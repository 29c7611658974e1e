//! The message ring under every queue: messages from any number of producers to any number of consumers, in one order.
//!
//! This is the handle to it, and its operations that may wait. README.md beside this file tells the protocol in shared
//! memory: who writes what, in which order, and what a survivor finds after a death.

use super::get::{Consumer, Many, One, Sink};
use super::kind::RingKind;
use super::layout::{MAX_CAPACITY, OBJECT};
use super::segment::INLINE;
use super::view::View;
use super::wait::{Getting, Joining, Putting, Readable, Writable, is_in_time};
use crate::codec::Handle;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::internal::until;
use crate::heap::layout::Off;
use crate::heap::object::Object;
use crate::heap::registration::EventSource;
use crate::heap::waiter::{Announced, Purpose};
use crate::os::clock::Deadline;
use crate::wait::event_count::{Ended, EventCount};
use core::fmt;
use core::ops::Deref;

pub(crate) use super::get::Got;
pub(crate) use super::kind::shut;
pub(crate) use super::put::OutgoingMessage;
pub(crate) use super::refused::Refused;

/// A handle to a ring: a reference to it, and the view through which it is used.
#[derive(Clone)]
pub(crate) struct Ring {
    handle: Handle<RingKind>,
    view: View<'static>,
}

impl Deref for Ring {
    type Target = View<'static>;
    #[inline]
    fn deref(&self) -> &View<'static> {
        &self.view
    }
}

impl From<Handle<RingKind>> for Ring {
    fn from(handle: Handle<RingKind>) -> Self {
        let view = View::of(handle.heap(), handle.off());
        Self { handle, view }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl Ring {
    /// Makes a ring. `capacity` 0 is unbounded; `typed` is the number of its messages' type.
    pub(crate) fn new(heap: &'static Heap, capacity: u64, typed: u64) -> Result<Self> {
        if capacity > MAX_CAPACITY {
            return Err(Error::Capacity {
                given: capacity,
                max: MAX_CAPACITY,
            });
        }
        let ring = Self::from(Handle::make(heap, OBJECT, typed)?);
        ring.begin(capacity);
        Ok(ring)
    }

    pub(crate) fn from_object(heap: &'static Heap, object: Object) -> Self {
        Self::from(Handle::from_object(heap, object))
    }

    pub(crate) fn handle(&self) -> &Handle<RingKind> {
        &self.handle
    }

    pub(crate) fn object(&self) -> &Object {
        self.handle.object()
    }

    pub(crate) fn heap(&self) -> &'static Heap {
        self.view.heap
    }

    /// Returns where this process's tally of unfinished messages is; 0 if the queue does not track consumers.
    ///
    /// It is asked for each attempt: a hook that ran in between may have forked, and a child has a tally of its own.
    /// A child that asks first may have to end a loan, which waits for the heap's lock; until `deadline`.
    #[inline]
    fn tally(&self, deadline: Deadline) -> Result<Off> {
        if self.tracks_consumers() {
            until(deadline, || self.heap().tally_of(self.object()))
        } else {
            Ok(0)
        }
    }

    /// Publishes that this thread is about to sleep.
    pub(super) fn announce(&self, purpose: Purpose) -> Announced<'static> {
        self.view.heap.waiting_for(self.view.off, purpose)
    }

    /// Looks for dead processes, if the queue asks for it.
    pub(super) fn sweep_dead_rate_limited(&self) {
        if self.polls_for_dead() {
            self.view.heap.sweep_dead_rate_limited();
        }
    }

    /// Puts what `message` holds, in order. Of several messages it puts as many as there is room for until `deadline`.
    #[inline]
    pub(crate) fn put(&self, message: &mut OutgoingMessage<'_>, deadline: Deadline) -> Result<(), Refused> {
        match self.try_put(message, deadline) {
            Err(Refused::Full) if deadline != Deadline::Now => self.wait_and_put(message, deadline),
            answer => answer,
        }
    }

    #[inline(never)]
    fn wait_and_put(&self, message: &mut OutgoingMessage<'_>, deadline: Deadline) -> Result<(), Refused> {
        let mut putting = Putting {
            ring: self,
            message,
            deadline,
        };
        match self.layout.not_full.wait(&mut putting, deadline) {
            Ok(answer) => answer,
            Err(Ended::Late) => Err(Refused::Full),
            Err(Ended::Interrupted) => Err(Refused::Failed(Error::Interrupted)),
        }
    }

    /// Takes the next message. The bytes of an inline message are appended to `buffer`.
    #[inline]
    pub(crate) fn get(&self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<Got> {
        let mut sink = One { buffer, got: None };
        self.get_into(&mut sink, deadline)?;
        Ok(sink.got.expect("a get that succeeds has taken a message"))
    }

    /// Waits for a message, and takes up to `most` that are there, in order.
    pub(crate) fn get_many(&self, buffer: &mut Vec<u8>, most: usize, deadline: Deadline) -> Result<Vec<Got>> {
        let got = Vec::new();
        let mut sink = Many { buffer, got, most };
        self.get_into(&mut sink, deadline)?;
        Ok(sink.got)
    }

    #[inline]
    fn get_into<S: Sink>(&self, sink: &mut S, deadline: Deadline) -> Result<()> {
        match self.attempt_get(sink, deadline) {
            Err(Error::Empty) if deadline != Deadline::Now => self.wait_and_get(sink, deadline),
            answer => answer,
        }
    }

    #[inline]
    pub(super) fn attempt_get<S: Sink>(&self, sink: &mut S, deadline: Deadline) -> Result<()> {
        let tally = self.tally(deadline)?;
        self.try_get(sink, Consumer { tally, deadline })
    }

    #[inline(never)]
    fn wait_and_get<S: Sink>(&self, sink: &mut S, deadline: Deadline) -> Result<()> {
        let mut getting = Getting {
            ring: self,
            sink,
            deadline,
        };
        match self.layout.not_empty.wait(&mut getting, deadline) {
            Ok(answer) => answer,
            Err(Ended::Late) => Err(Error::Empty),
            Err(Ended::Interrupted) => Err(Error::Interrupted),
        }
    }

    /// Waits until a get would not wait, and takes nothing. Returns false if the deadline passed first.
    pub(crate) fn wait_readable(&self, deadline: Deadline) -> Result<bool> {
        let event_count = &self.layout.not_empty;
        is_in_time(event_count.attempt_or_wait(&mut Readable(self), deadline))
    }

    /// Waits until a put would not wait, and puts nothing. Returns false if the deadline passed first.
    pub(crate) fn wait_writable(&self, deadline: Deadline) -> Result<bool> {
        let event_count = &self.layout.not_full;
        is_in_time(event_count.attempt_or_wait(&mut Writable(self), deadline))
    }

    /// Counts one message as finished.
    pub(crate) fn task_done(&self) -> Result<()> {
        // A queue that tracks no consumers counts without a lock, which would refuse.
        if self.handle.me() == 0 {
            return Err(Error::NoIdentity);
        }
        self.finish(self.tally(Deadline::Never)?)?;
        if self.unfinished() == 0 {
            self.layout.all_done.wake_unconditionally();
        }
        Ok(())
    }

    /// Waits until every message is finished.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<()> {
        let event_count = &self.layout.all_done;
        event_count.attempt_or_wait(&mut Joining(self), deadline)?
    }
}

impl EventSource for Ring {
    fn is_ready(&self) -> bool {
        self.is_readable()
    }

    fn event_count(&self) -> &EventCount {
        &self.layout.not_empty
    }

    fn registrations(&self) -> Off {
        self.view.registrations()
    }

    fn keep(&self) -> Box<dyn EventSource> {
        Box::new(self.clone())
    }
}

/// Returns true if a message of `len` bytes lies in the ring itself.
#[inline]
pub(crate) fn is_inline(len: usize) -> bool {
    len <= INLINE
}
