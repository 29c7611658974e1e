//! Watches and bells: how somebody who waits for several objects at once is told which of them to look at.
//!
//! Each object that can be watched has a word where a list of *watches* begins. A watch names a *bell* and a number; who
//! changes the object, and finds its gate marked as watched, rings the bells of the whole list: it sets the number's bit,
//! and wakes who sleeps at the bell. The protocol is in `src/select/README.md`.

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

/// Bells that one pass over a list wakes.
const AT_ONCE: usize = 16;

/// What can be watched.
pub(crate) trait EventSource: Send + Sync {
    /// Whether somebody who waits for it would go on at once.
    fn is_ready(&self) -> bool;
    /// The gate whose notifiers [`tell`] the registrations.
    fn event_count(&self) -> &EventCount;
    /// Where its list of watches begins.
    fn registrations(&self) -> Off;
    /// Another handle to the same object.
    fn keep(&self) -> Box<dyn EventSource>;
}

#[repr(C, align(64))]
struct RegistrationLayout {
    head: Head,
    /// Owner id of the process that watches; a forked child's reference is none of its business.
    owner: AtomicU64,
    ready_set: AtomicU64,
    number: AtomicU64,
    /// The word where the list begins that it is in; 0: in none. This and the next two change in transactions.
    list: AtomicU64,
    next: AtomicU64,
    prev: AtomicU64,
}

// SAFETY: repr(C) and atomics only.
#[allow(unsafe_code)]
unsafe impl SharedLayout for RegistrationLayout {}

/// The kind of every watch.
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

/// Puts a watch at the front of the list that begins at `list`.
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

/// Takes a watch out of the list it is in, if any.
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
    /// Lists whose bells this thread was to ring when it must not sleep, and somebody was in the middle of a transaction.
    static UNTOLD: RefCell<Vec<Off>> = const { RefCell::new(Vec::new()) };
}

/// Rings the bells that could not be rung. Whoever changed the objects must not have given them up since.
#[cold]
pub(crate) fn tell_news(heap: &Heap) {
    owe_news(false);
    for list in UNTOLD.take() {
        tell(heap, list);
    }
}

/// Rings the bells of all who watch the object whose list begins at `list`. Call it behind a read-modify-write that follows
/// the change.
#[cold]
pub(crate) fn tell(heap: &Heap, list: Off) {
    // Without the news a watcher may sleep for ever: it is worth waiting for somebody who is stopped.
    if insist(|| try_tell(heap, list)) == Err(Error::Busy) {
        UNTOLD.with_borrow_mut(|lists| lists.push(list));
        owe_news(true);
    }
}

/// The same for survivors, who hold a lock and come again: an error means that not everybody was told.
pub(crate) fn try_tell(heap: &Heap, list: Off) -> Result<()> {
    fence_after_rmw();
    if heap.word(list).load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    loop {
        let (mut due, mut count) = ([0; AT_ONCE], 0);
        // It stages nothing: the heap's latch keeps watches and bells where they are.
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
        // A bell that has gone meanwhile is only a needless wake-up.
        for &ready_set in &due[..count] {
            heap.shared::<ReadySetLayout>(ready_set).event_count.wake(1);
        }
        if count < AT_ONCE {
            return Ok(());
        }
    }
}

/// A watch in the list of an object, taken out when it is dropped.
pub(crate) struct Registration {
    heap: &'static Heap,
    object: Object,
    /// What it names: the bell, and the object in whose list it is. They stay where it cannot be taken out.
    named: Option<(ReadySet, Box<dyn EventSource>)>,
    /// The process that watches.
    owner: u32,
}

impl Registration {
    /// Has `bell` rung with `number` whenever `thing` is notified while its gate is marked as watched.
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
        // A forked child's copy is its parent's.
        let in_time = || until(Deadline::Now, || unlink(self.heap, self.object.off()));
        if self.owner == self.heap.me() && in_time().is_err() {
            // Somebody is stopped in the middle of a change: as long as it is in the list, nothing of it must be freed. It is
            // taken out when this process ends.
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
