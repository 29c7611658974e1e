//! The message ring under every queue: bytes from any number of producers to any number of consumers, in one order.
//!
//! This is the handle to it, and where one waits for room, for messages and for work to be done. What happens in shared
//! memory is in `view.rs`; the protocol (who writes what, in which order, and what a survivor finds) is in README.md
//! beside this file.

use super::segment::{INLINE, Record, RecordRef};
use super::view::{BATCH, OBJECT, QUEUE, Take, View};
pub(crate) use super::view::{OutgoingMessage, Refused};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::heap::layout::Off;
use crate::heap::object::Object;
use crate::heap::registration::EventSource;
use crate::heap::waiter::{Announced, Purpose};
use crate::os::clock::Deadline;
use crate::wait::event_count::{Ended, EventCount};

/// The largest capacity.
pub(super) const MAX_CAPACITY: u64 = 1 << 48;

/// What `get` found.
pub(crate) enum Got {
    /// A message of so many bytes, appended to the buffer.
    Inline(usize),
    Block(Block),
}

/// A handle to a ring.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    heap: &'static Heap,
    object: Object,
}

impl Ring {
    /// A new ring; `capacity` 0 is unbounded, `typed` tells what its messages are.
    pub(crate) fn new(heap: &'static Heap, capacity: u64, typed: u64) -> Result<Self> {
        if capacity > MAX_CAPACITY {
            return Err(Error::Capacity {
                given: capacity,
                max: MAX_CAPACITY,
            });
        }
        let object = heap.make_object(&QUEUE, OBJECT, typed)?;
        let ring = Self { heap, object };
        ring.view().begin(capacity);
        Ok(ring)
    }

    pub(crate) fn from_object(heap: &'static Heap, object: Object) -> Self {
        Self { heap, object }
    }

    /// From now on, whoever waits here sees to it that deaths are noticed: one may be what it waits for.
    pub(crate) fn set_polls_for_dead(&self) {
        self.view().set_polls_for_dead();
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    pub(crate) fn heap(&self) -> &'static Heap {
        self.heap
    }

    fn view(&self) -> View<'_> {
        View::of(self.heap, self.object.off())
    }

    /// The view of a consumer, whose items may be watched.
    fn consumer(&self) -> Result<View<'_>> {
        let view = self.view();
        Ok(if view.tracks_consumers() {
            view.with_tally_at(self.heap.tally_of(&self.object)?)
        } else {
            view
        })
    }

    /// Says what this thread is about to sleep for.
    fn announce(&self, purpose: Purpose) -> Announced<'_> {
        self.heap.waiting_for(self.object.off(), purpose)
    }

    // ---- putting ----

    /// Puts what `message` holds, in order; of many, as many as there is room for in time.
    pub(crate) fn put(&self, message: &mut OutgoingMessage<'_>, deadline: Deadline) -> Result<(), Refused> {
        let put = self.view().shared.not_full.persist(
            deadline,
            || !self.is_full() || self.is_closed(),
            || !self.is_full() || self.is_closed(),
            || self.sweep_dead_rate_limited(),
            || self.announce(Purpose::Put),
            || match self.view().until(deadline).try_put(message) {
                Err(Refused::Full) => None,
                answer => Some(answer),
            },
        );
        put.unwrap_or_else(|ended| {
            Err(match ended {
                Ended::Late => Refused::Full,
                Ended::Interrupted => Refused::Failed(Error::Interrupted),
            })
        })
    }

    // ---- getting ----

    /// Takes the next message; inline bytes are appended to `buffer`.
    pub(crate) fn get(&self, buffer: &mut Vec<u8>, deadline: Deadline) -> Result<Got> {
        let mut got = None;
        self.get_some(deadline, |place, record| {
            got = Some(match record {
                Record::Inline(len) => {
                    place.copy_to(len, buffer);
                    Got::Inline(len)
                }
                _ => return Take::Last,
            });
            Take::Last
        })
        .map(|mut blocks| match (got, blocks.pop()) {
            (_, Some(block)) => Got::Block(block),
            (Some(got), None) => got,
            (None, None) => unreachable!("a get that succeeds has taken a message"),
        })
    }

    /// Takes up to `most` messages that are there (waiting for the first); one entry each in the answer, in order.
    pub(crate) fn get_many(&self, buffer: &mut Vec<u8>, most: usize, deadline: Deadline) -> Result<Vec<Got>> {
        let mut got = Vec::new();
        let mut places = Vec::new();
        let blocks = self.get_some(deadline, |place, record| {
            let index = got.len() + places.len();
            let more = index + 1 < most.min(BATCH);
            if let Record::Inline(len) = record {
                place.copy_to(len, buffer);
                got.push(Got::Inline(len));
            } else {
                places.push(index);
            }
            if more { Take::More } else { Take::Last }
        })?;
        // Both run in order, and the places were noted as indices into the whole.
        for (place, block) in places.into_iter().zip(blocks) {
            got.insert(place, Got::Block(block));
        }
        Ok(got)
    }

    fn get_some(
        &self,
        deadline: Deadline,
        mut visit: impl FnMut(RecordRef<'_>, Record) -> Take,
    ) -> Result<Vec<Block>> {
        let got = self.view().shared.not_empty.persist(
            deadline,
            || self.view().may_have_message(),
            || self.may_be_readable(),
            || {
                self.heap.release_reserve();
                self.sweep_dead_rate_limited();
            },
            || self.announce(Purpose::Get),
            || match self
                .consumer()
                .and_then(|view| view.until(deadline).try_get(&mut visit))
            {
                Err(Error::Empty) => None,
                answer => Some(answer),
            },
        );
        got.unwrap_or_else(|ended| {
            Err(match ended {
                Ended::Late => Error::Empty,
                Ended::Interrupted => Error::Interrupted,
            })
        })
    }

    /// Waits until a get would not wait, taking nothing; false where the deadline came first.
    pub(crate) fn wait_readable(&self, deadline: Deadline) -> Result<bool> {
        let found = self.view().shared.not_empty.persist(
            deadline,
            || self.view().may_have_message(),
            || self.may_be_readable(),
            || self.sweep_dead_rate_limited(),
            || self.announce(Purpose::Wait),
            // Not the shorter look: that a dead producer's message is there is seen here or never.
            || (self.len() > 0 || self.is_closed()).then_some(()),
        );
        match found {
            Ok(()) => Ok(true),
            Err(Ended::Late) => Ok(false),
            Err(Ended::Interrupted) => Err(Error::Interrupted),
        }
    }

    /// Waits until a put would not wait, putting nothing; false where the deadline came first.
    pub(crate) fn wait_writable(&self, deadline: Deadline) -> Result<bool> {
        let ready = || !self.is_full() || self.is_closed();
        let found = self.view().shared.not_full.persist(
            deadline,
            ready,
            ready,
            || self.sweep_dead_rate_limited(),
            || self.announce(Purpose::Put),
            || ready().then_some(()),
        );
        match found {
            Ok(()) => Ok(true),
            Err(Ended::Late) => Ok(false),
            Err(Ended::Interrupted) => Err(Error::Interrupted),
        }
    }

    /// Somebody has waited for a whole slice.
    fn sweep_dead_rate_limited(&self) {
        if self.view().polls_for_dead() {
            self.heap.sweep_dead_rate_limited();
        }
    }

    // ---- asking ----

    /// Whether there seems to be a message; see [`View::may_have_message`].
    #[inline]
    pub(crate) fn may_have_message(&self) -> bool {
        self.view().may_have_message()
    }

    /// Messages in the queue; with others at work, old news at once.
    pub(crate) fn len(&self) -> u64 {
        self.view().repair_if_dead();
        self.view().len_hint()
    }

    /// Whether there may be something for a consumer, who looks for the message itself before it sleeps.
    fn may_be_readable(&self) -> bool {
        self.view().len_hint() > 0 || self.is_closed()
    }

    pub(crate) fn is_full(&self) -> bool {
        let capacity = self.capacity();
        capacity != 0 && self.view().len_hint() >= capacity
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.view().capacity()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.view().is_closed()
    }

    // ---- ending ----

    /// No message can be put any more; `discard` also takes out what is there.
    pub(crate) fn shutdown(&self, discard: bool) -> Result<()> {
        shut(self.heap, self.object.off(), discard)
    }

    /// From now on, deaths of consumers with unfinished items are noted.
    pub(crate) fn track_consumers(&self) {
        self.view().track_consumers();
    }

    /// One message's work is done.
    pub(crate) fn task_done(&self) -> Result<()> {
        let view = self.consumer()?;
        view.finish()?;
        if view.unfinished() == 0 {
            view.shared.all_done.wake_unconditionally();
        }
        Ok(())
    }

    /// Messages put whose work is not done.
    pub(crate) fn unfinished(&self) -> u64 {
        self.view().unfinished()
    }

    /// Waits until every message's work is done.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<()> {
        let view = self.view();
        let joined = view.shared.all_done.persist(
            deadline,
            || view.unfinished() == 0 || view.lost() != 0,
            || view.unfinished() == 0 || view.lost() != 0,
            || {
                if view.tracks_consumers() {
                    self.heap.sweep_dead_rate_limited();
                }
            },
            || self.announce(Purpose::Join),
            || match (view.unfinished(), view.lost()) {
                (0, _) => Some(Ok(())),
                (_, 0) => None,
                (_, items) => Some(Err(Error::ConsumerDied { items })),
            },
        );
        joined.unwrap_or_else(|ended| {
            Err(match ended {
                Ended::Late => Error::Timeout,
                Ended::Interrupted => Error::Interrupted,
            })
        })
    }
}

/// Shuts down the ring at `off`, which somebody refers to; may be run again after a death half-way.
pub(crate) fn shut(heap: &Heap, off: Off, discard: bool) -> Result<()> {
    let view = View::of(heap, off);
    view.close()?;
    view.notify_everybody()?;
    if discard {
        for _ in 0..view.discard()? {
            // Nobody has taken these: they are on nobody's tally.
            if view.finish().is_err() {
                break;
            }
        }
        view.notify_everybody()?;
    }
    Ok(())
}

impl EventSource for Ring {
    fn is_ready(&self) -> bool {
        // As in `wait_readable`.
        self.len() > 0 || self.is_closed()
    }

    fn event_count(&self) -> &EventCount {
        &self.view().shared.not_empty
    }

    fn registrations(&self) -> Off {
        self.view().registrations()
    }

    fn keep(&self) -> Box<dyn EventSource> {
        Box::new(self.clone())
    }
}

/// Whether a message of `len` bytes lies in the ring itself.
pub(crate) fn is_inline(len: usize) -> bool {
    len <= INLINE
}
