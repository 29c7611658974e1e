//! Registrations: how a thread that waits for several objects at once learns which of them to look at.
//!
//! Each object that can be waited for in this way (an *event source*) has a word where a list of registrations begins.
//! A registration names a [ready set](super::ready_set) and a number. A thread that changes the object, and finds its
//! event count marked as registered, goes through the list: in each ready set it sets the bit of the number, and it
//! wakes the thread that sleeps on the set. The protocol is in `src/select/README.md`.

use super::ready_set::ReadySetLayout;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::members::object::Object;
use crate::heap::memory::facts::Facts;
use crate::heap::memory::heap::ObjectKind;
use crate::heap::memory::layout::{Head, Off, SharedLayout};
use crate::heap::memory::limit::{insist, owe_news, until};
use crate::heap::memory::tx::Tx;
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::wait::event_count::EventCount;
use core::mem::offset_of;
use std::cell::RefCell;

// At their old paths, for the rooms below.
pub(crate) use super::ready_set::{NUMBERS, READY_SET, ReadySet};

/// The most ready sets that one pass over a list wakes.
const AT_ONCE: usize = 16;

/// An object that a thread can wait for together with others.
pub(crate) trait EventSource: Send + Sync {
    /// Returns whether a thread that waits for it would go on at once.
    fn is_ready(&self) -> bool;
    /// Returns the event count whose notifiers [`tell`] the registrations.
    fn event_count(&self) -> &EventCount;
    /// Returns the offset of the word where its list of registrations begins.
    fn registrations(&self) -> Off;
    /// Returns another handle to the same object.
    fn keep(&self) -> Box<dyn EventSource>;
}

#[repr(C, align(64))]
struct RegistrationLayout {
    head: Head,
    /// Owner id of the process that registered; a forked child's reference has no effect.
    owner: AtomicU64,
    ready_set: AtomicU64,
    number: AtomicU64,
    /// The word where its list begins; 0 if it is in none. This and the next two change in transactions.
    list: AtomicU64,
    next: AtomicU64,
    prev: AtomicU64,
}

// SAFETY: repr(C) and atomics only.
#[allow(unsafe_code)]
unsafe impl SharedLayout for RegistrationLayout {}

/// The kind of every registration.
pub(crate) const REGISTRATION: ObjectKind = ObjectKind {
    number: 13,
    name: "registration",
    on_holder_death: |heap, off, dead, _| {
        if heap
            .shared::<RegistrationLayout>(off)
            .owner
            .load(Ordering::Relaxed)
            == u64::from(dead)
        {
            unlink(heap, off)?;
        }
        Ok(())
    },
    clear: |_, _| Ok(()),
    describe: |_, _| Facts::default(),
};

const LIST: Off = offset_of!(RegistrationLayout, list) as Off;
const NEXT: Off = offset_of!(RegistrationLayout, next) as Off;
const PREV: Off = offset_of!(RegistrationLayout, prev) as Off;

/// Puts a registration at the front of the list that begins at `list`.
fn link(tx: &mut Tx<'_>, off: Off, list: Off) {
    let first = tx.get(list);
    tx.set(off + LIST, list);
    tx.set(off + NEXT, first);
    tx.set(off + PREV, 0);
    if first != 0 {
        tx.set(first + PREV, off);
    }
    tx.set(list, off);
}

/// Takes a registration out of its list, if it is in one.
fn unlink(heap: &Heap, off: Off) -> Result<()> {
    heap.transact(|tx| {
        let list = tx.get(off + LIST);
        if list == 0 {
            return Ok(());
        }
        let (next, prev) = (tx.get(off + NEXT), tx.get(off + PREV));
        tx.set(if prev == 0 { list } else { prev + NEXT }, next);
        if next != 0 {
            tx.set(next + PREV, prev);
        }
        tx.set(off + LIST, 0);
        Ok(())
    })
}

thread_local! {
    /// Lists that this thread was to tell while it must not sleep, and while another transaction was going on.
    static UNTOLD: RefCell<Vec<Off>> = const { RefCell::new(Vec::new()) };
}

/// Tells the registrations that could not be told before. The thread that changed the objects must still refer to
/// them.
#[cold]
pub(crate) fn tell_news(heap: &Heap) {
    owe_news(false);
    for list in UNTOLD.take() {
        tell(heap, list);
    }
}

/// Tells all registrations of the object whose list begins at `list`: sets their numbers, and wakes the threads
/// that sleep on their ready sets. Called after a read-modify-write that follows the change.
#[cold]
pub(crate) fn tell(heap: &Heap, list: Off) {
    // A waiting thread that is not told may sleep for ever, so it is right to wait even for a stopped process.
    if insist(|| try_tell(heap, list)) == Err(Error::Busy) {
        UNTOLD.with_borrow_mut(|lists| lists.push(list));
        owe_news(true);
    }
}

/// Tells all registrations as [`tell`] does, for survivors, which hold a lock and come again: after an error, some
/// may not have been told.
pub(crate) fn try_tell(heap: &Heap, list: Off) -> Result<()> {
    fence_after_rmw();
    if heap.word(list).load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    loop {
        let (mut due, mut count) = ([0; AT_ONCE], 0);
        // It stages nothing: the heap's lock keeps registrations and ready sets where they are.
        heap.transact(|tx| {
            let mut at = tx.get(list);
            while at != 0 && count < AT_ONCE {
                let registration = heap.shared::<RegistrationLayout>(at);
                let ready_set = registration.ready_set.load(Ordering::Relaxed);
                let rung = heap.shared::<ReadySetLayout>(ready_set);
                rung.set(registration.number.load(Ordering::Relaxed));
                if rung.event_count.take_waiters() {
                    due[count] = ready_set;
                    count += 1;
                }
                at = tx.get(at + NEXT);
            }
            Ok(())
        })?;
        // If a ready set is gone by now, this is only a needless wake-up.
        for &ready_set in &due[..count] {
            heap.shared::<ReadySetLayout>(ready_set).event_count.wake(1);
        }
        if count < AT_ONCE {
            return Ok(());
        }
    }
}

/// A registration in the list of an object, taken out when it is dropped.
pub(crate) struct Registration {
    heap: &'static Heap,
    object: Object,
    /// The ready set, and the object in whose list it is. Both are kept for ever if it cannot be taken out.
    named: Option<(ReadySet, Box<dyn EventSource>)>,
    /// Owner id of the process that registered.
    owner: u32,
}

impl Registration {
    /// Has `number` set in `ready_set` whenever `thing` is notified while its event count is marked as registered.
    pub(crate) fn new(ready_set: &ReadySet, number: usize, thing: &dyn EventSource) -> Result<Self> {
        let heap = ready_set.heap;
        let object = heap.make_object(&REGISTRATION, size_of::<RegistrationLayout>() as u64, 0)?;
        let (off, owner) = (object.off(), heap.me());
        let shared = heap.shared::<RegistrationLayout>(off);
        shared.owner.store(u64::from(owner), Ordering::Relaxed);
        shared.ready_set.store(ready_set.off(), Ordering::Relaxed);
        shared.number.store(number as u64, Ordering::Relaxed);
        heap.transact(|tx| {
            link(tx, off, thing.registrations());
            Ok(())
        })?;
        Ok(Self {
            heap,
            object,
            named: Some((ready_set.clone(), thing.keep())),
            owner,
        })
    }
}

impl core::fmt::Debug for Registration {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Registration")
            .field("object", &self.object)
            .finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The copy in a forked child is not the child's.
        let in_time = || until(Deadline::Now, || unlink(self.heap, self.object.off()));
        if self.owner == self.heap.me() && in_time().is_err() {
            // A process is stopped in the middle of a change. While the registration is in the list, nothing of it may
            // be freed. It is taken out when this process ends.
            core::mem::forget((self.object.clone(), self.named.take()));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::heap::memory::locks::awake;
    use crate::sync::Event;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn what_cannot_be_told_awake_is_told_later() {
        let _one = crate::crash_tests::one_at_a_time();
        let heap = crate::program::heap().unwrap();
        let (ready_set, event) = (ReadySet::new(heap).unwrap(), Event::new().unwrap());
        let _watch = Registration::new(&ready_set, 3, &event).unwrap();
        event.event_count().mark_registered();
        let (begun, over) = (Barrier::new(2), Barrier::new(2));
        let in_the_middle = thread::scope(|scope| {
            scope.spawn(|| {
                heap.transact(|_| {
                    begun.wait();
                    over.wait();
                    Ok(())
                })
            });
            begun.wait();
            let (set, owes_news) = awake(|| event.set());
            let seen = (set, owes_news, ready_set.is_rung());
            over.wait();
            seen
        });
        assert_eq!(in_the_middle, (true, true, false));
        tell_news(heap);
        assert!(ready_set.is_rung());
        assert!(!awake(|| ()).1, "nothing is left to be told");
    }
}
