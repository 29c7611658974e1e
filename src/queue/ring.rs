//! The message ring under every queue: bytes from any number of producers to any number of consumers, in one order.
//!
//! The protocol (who writes what, in which order, and what a survivor finds) is in README.md beside this file.

use super::segment::{END_WORDS, INLINE, Place, Record};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::heap::layout::{CHUNK, HEAD, Head, Off};
use crate::heap::object::{Kind, Object, SharedLayout};
use crate::heap::tx::{SHORT, Tx};
use crate::os::clock::Deadline;
use crate::os::futex::Wake;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::gate::Gate;
use crate::wait::interrupt::interrupted;
use crate::wait::latch::{Latch, Locked};
use crate::wait::spin;
use core::mem::offset_of;

/// Why a message was not put; nothing was changed.
pub(crate) enum Refused {
    Closed,
    Full,
    Failed(Error),
}

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
        if capacity > MOST {
            return Err(Error::Capacity {
                given: capacity,
                max: MOST,
            });
        }
        let object = heap.make_object(&QUEUE, OBJECT, typed)?;
        let ring = Self { heap, object };
        let first = ring.object.off() + size_of::<Shared>() as u64;
        let shared = ring.shared();
        shared.capacity.store(capacity, Ordering::Relaxed);
        shared.head_segment.store(first, Ordering::Relaxed);
        shared.tail_segment.store(first, Ordering::Release);
        Ok(ring)
    }

    pub(crate) fn from_object(heap: &'static Heap, object: Object) -> Self {
        Self { heap, object }
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    pub(crate) fn heap(&self) -> &'static Heap {
        self.heap
    }

    fn shared(&self) -> &Shared {
        self.heap.shared(self.object.off())
    }

    fn view(&self) -> View<'_> {
        View {
            heap: self.heap,
            off: self.object.off(),
            shared: self.shared(),
            note: 0,
        }
    }

    /// The view of a consumer, whose items may be watched.
    fn consumer(&self) -> View<'_> {
        let mut view = self.view();
        if view.shared.watched.load(Ordering::Relaxed) != 0 {
            view.note = self.heap.note_of(&self.object);
        }
        view
    }

    // ---- putting ----

    /// Puts messages of `next`, in order, until it has no more; each as whole bytes of at most [`INLINE`], or a block.
    pub(crate) fn put(&self, message: &mut Message<'_>, deadline: Deadline) -> Result<(), Refused> {
        let mut slept = false;
        loop {
            match self.view().try_put(message) {
                Err(Refused::Full) => {}
                answer => {
                    if slept {
                        self.shared().not_full.pass_on(|| !self.is_full());
                    }
                    return answer;
                }
            }
            if deadline.passed() {
                return Err(Refused::Full);
            }
            if slept && interrupted() {
                return Err(Refused::Failed(Error::Interrupted));
            }
            let shared = self.shared();
            let go_on = || !self.is_full() || self.is_closed();
            if !spin::until(go_on) {
                let ticket = shared.not_full.arm();
                if !go_on() {
                    slept = true;
                    shared.not_full.sleep(ticket, deadline);
                }
            }
        }
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
                _ => return Take::Block,
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
            let taken = got.len() + places.len() + 1;
            if let Record::Inline(len) = record {
                place.copy_to(len, buffer);
                got.push(Got::Inline(len));
            } else {
                places.push(got.len() + places.len());
            }
            match record {
                Record::Inline(_) if taken < most.min(BATCH) => Take::More,
                Record::Inline(_) => Take::Last,
                _ if taken < most.min(BATCH) => Take::BlockAndMore,
                _ => Take::Block,
            }
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
        mut visit: impl FnMut(Place<'_>, Record) -> Take,
    ) -> Result<Vec<Block>> {
        let mut slept = false;
        let view = self.consumer();
        loop {
            match view.try_get(&mut visit) {
                Err(Error::Empty) => {}
                answer => {
                    if slept {
                        self.shared()
                            .not_empty
                            .pass_on(|| !self.is_empty() || self.is_closed());
                    }
                    return answer;
                }
            }
            if deadline.passed() {
                return Err(Error::Empty);
            }
            if slept && interrupted() {
                return Err(Error::Interrupted);
            }
            let go_on = || !self.is_empty() || self.is_closed();
            if !spin::until(go_on) {
                let ticket = self.shared().not_empty.arm();
                if !go_on() {
                    slept = true;
                    if self.shared().not_empty.sleep(ticket, deadline) == Wake::TimedOut {
                        self.heap.calm_down();
                    }
                }
            }
        }
    }

    /// Waits until a get would not wait, taking nothing; false where the deadline came first.
    pub(crate) fn wait_readable(&self, deadline: Deadline) -> bool {
        let gate = &self.shared().not_empty;
        let go_on = || !self.is_empty() || self.is_closed();
        loop {
            // Not the shorter look: that a dead producer's message is there is seen here or never.
            if self.len() > 0 || self.is_closed() {
                // The wake-up was for somebody who takes the message.
                gate.pass_on(go_on);
                return true;
            }
            if deadline.passed() {
                return false;
            }
            let ticket = gate.arm();
            if !go_on() {
                gate.sleep(ticket, deadline);
            }
        }
    }

    // ---- asking ----

    /// Where the queue has been taken from and put to.
    ///
    /// A message can be taken between its header's being stored and its producer's cursor, so the count of those taken
    /// may be one ahead: then that is how many were put, too.
    fn counts(&self) -> (Cursor, Cursor) {
        let shared = self.shared();
        // Read the other way round, takers could get further ahead.
        let taken = Cursor(shared.taken.load(Ordering::Acquire));
        let put = Cursor(shared.tail.load(Ordering::Acquire));
        if put.since(taken) > MOST {
            (taken, taken)
        } else {
            (taken, put)
        }
    }

    /// Messages in the queue; with others at work, old news at once.
    pub(crate) fn len(&self) -> u64 {
        // A producer that died between a message's header and its cursor has put it: it must be counted.
        let owner = self.shared().tail_latch.owner();
        if owner != 0 && !self.heap.alive(owner) {
            self.view().with_tail(|| {});
        }
        self.glance()
    }

    /// The same, but for the message of a producer that has just died.
    fn glance(&self) -> u64 {
        let (taken, put) = self.counts();
        put.since(taken)
    }

    /// For waiting: a consumer looks for the message itself before it sleeps.
    fn is_empty(&self) -> bool {
        self.glance() == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        let capacity = self.capacity();
        capacity != 0 && self.glance() >= capacity
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.shared().capacity.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared().closed.load(Ordering::Acquire) != 0
    }

    // ---- ending ----

    /// No message can be put any more; `discard` also takes out what is there.
    pub(crate) fn shutdown(&self, discard: bool) -> Result<()> {
        let shared = self.shared();
        self.view()
            .with_tail(|| shared.closed.store(1, Ordering::Release));
        if discard {
            let dropped = self.view().discard()?;
            self.add_done(dropped);
        }
        for gate in [&shared.not_empty, &shared.not_full, &shared.all_done] {
            gate.notify_all();
        }
        Ok(())
    }

    /// From now on, deaths of consumers with unfinished items are noted.
    pub(crate) fn watch(&self) {
        self.shared().watched.store(1, Ordering::Release);
    }

    /// One message's work is done.
    pub(crate) fn task_done(&self) -> Result<()> {
        let shared = self.shared();
        let view = self.consumer();
        if view.note != 0 {
            let (_, put) = self.counts();
            view.finish_one(put)?;
            if self.unfinished() == 0 {
                shared.all_done.notify_all();
            }
            return Ok(());
        }
        let mut done = shared.done.load(Ordering::Relaxed);
        loop {
            let (_, put) = self.counts();
            if put.since(Cursor(done)) == 0 {
                return Err(Error::TooManyTasksDone);
            }
            let next = Cursor(done).after(0).0;
            match shared
                .done
                .compare_exchange(done, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => done = now,
            }
        }
        if self.unfinished() == 0 {
            shared.all_done.notify_all();
        }
        Ok(())
    }

    fn add_done(&self, n: u64) {
        for _ in 0..n {
            if self.task_done().is_err() {
                return;
            }
        }
    }

    /// Messages put whose work is not done.
    pub(crate) fn unfinished(&self) -> u64 {
        let done = Cursor(self.shared().done.load(Ordering::Acquire));
        let (_, put) = self.counts();
        // Another consumer may have finished one since.
        match put.since(done) {
            n if n > MOST => 0,
            n => n,
        }
    }

    /// Waits until every message's work is done.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<()> {
        let shared = self.shared();
        let lost = || shared.lost.load(Ordering::Acquire);
        let go_on = || self.unfinished() == 0 || lost() != 0;
        let mut slept = false;
        while self.unfinished() != 0 {
            if lost() != 0 {
                return Err(Error::ConsumerDied { items: lost() });
            }
            if deadline.passed() {
                return Err(Error::Timeout);
            }
            if slept && interrupted() {
                return Err(Error::Interrupted);
            }
            if !spin::until(go_on) {
                let ticket = shared.all_done.arm();
                if !go_on() {
                    slept = true;
                    shared.all_done.sleep(ticket, deadline);
                }
            }
        }
        Ok(())
    }
}

/// A message to put.
pub(crate) enum Message<'b> {
    Bytes(&'b [u8]),
    /// `None` once it was put.
    Block(Option<Block>),
    /// Bytes one after the other, with the end of each; how many were put stands in `put`.
    Many {
        bytes: &'b [u8],
        ends: &'b [usize],
        put: usize,
    },
}

/// Whether a message of `len` bytes lies in the ring itself.
pub(crate) fn is_inline(len: usize) -> bool {
    len <= INLINE
}
