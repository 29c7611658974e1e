//! Models of registrations for loom. The event counts of the object and of the ready set are the real ones. A count
//! stands for what is in the object, and a word for the marks in the ready set. Under loom a futex wakes nobody by
//! itself, so a thread that is forgotten sleeps for ever.

use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::{EventCount, Probe};
use loom::sync::Arc;
use loom::thread;

/// A selector's ready set.
struct ReadySet {
    event_count: EventCount,
    marked: AtomicU64,
}

/// An object with items in it, and the ready sets of the selectors that have it.
struct Thing {
    event_count: EventCount,
    items: AtomicU64,
    ready_sets: Vec<ReadySet>,
}

impl Thing {
    fn new(ready_sets: usize) -> Arc<Self> {
        let ready_set = |_| ReadySet {
            event_count: EventCount::new(),
            marked: AtomicU64::new(0),
        };
        Arc::new(Self {
            event_count: EventCount::new(),
            items: AtomicU64::new(0),
            ready_sets: (0..ready_sets).map(ready_set).collect(),
        })
    }

    /// Adds `n` items, unless there would be fewer than none.
    fn add(&self, n: i64) -> bool {
        let mut items = self.items.load(Ordering::Relaxed);
        loop {
            let Some(next) = items.checked_add_signed(n) else {
                return false;
            };
            match self
                .items
                .compare_exchange(items, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => items = now,
            }
        }
    }

    fn has_some(&self) -> bool {
        self.items.load(Ordering::Acquire) > 0
    }

    /// Does what a put does: the change, the notification, and as `tell` the marks in the ready sets.
    fn put(&self) {
        self.add(1);
        if self.event_count.notify(1) {
            for ready_set in &self.ready_sets {
                ready_set.marked.fetch_or(1, Ordering::SeqCst);
                if ready_set.event_count.take_waiters() {
                    ready_set.event_count.wake(1);
                }
            }
        }
    }

    /// Does what a get does that sleeps at the object's own event count.
    fn get(&self) {
        let mut probe = Probe {
            ready: || self.has_some(),
            attempt: || self.add(-1).then_some(()),
        };
        let got = self.event_count.attempt_or_wait(&mut probe, Deadline::Never);
        assert!(got.is_ok());
    }

    /// Does what `Selector::wait` does with this as the only member.
    fn select(&self, ready_set: &ReadySet, hot: &mut bool) {
        loop {
            *hot |= ready_set.marked.load(Ordering::Relaxed) != 0
                && ready_set.marked.swap(0, Ordering::AcqRel) != 0;
            if *hot {
                if self.has_some() {
                    return;
                }
                self.event_count.mark_registered();
                if self.has_some() {
                    return;
                }
                *hot = false;
            }
            let epoch = ready_set.event_count.prepare_wait();
            if ready_set.marked.load(Ordering::Acquire) == 0 {
                ready_set.event_count.sleep(
                    epoch,
                    Deadline::Never,
                    &mut crate::wait::sleeper::Sleeper::new(),
                );
            }
        }
    }

    /// Takes `count` items, waiting for each through the selector.
    fn drain(&self, ready_set: usize, mut count: usize) {
        let mut hot = true;
        while count > 0 {
            self.select(&self.ready_sets[ready_set], &mut hot);
            count -= usize::from(self.add(-1));
        }
    }
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

#[test]
fn loom_selector_is_told_each_time() {
    model(|| {
        let thing = Thing::new(1);
        let producer = {
            let thing = thing.clone();
            thread::spawn(move || {
                thing.put();
                thing.put();
            })
        };
        thing.drain(0, 2);
        producer.join().unwrap();
    });
}

#[test]
fn loom_every_selector_is_told() {
    model(|| {
        let thing = Thing::new(2);
        let other = {
            let thing = thing.clone();
            thread::spawn(move || thing.select(&thing.ready_sets[1], &mut true))
        };
        let producer = {
            let thing = thing.clone();
            thread::spawn(move || thing.put())
        };
        thing.select(&thing.ready_sets[0], &mut true);
        other.join().unwrap();
        producer.join().unwrap();
    });
}

/// Both marks at once: one thread sleeps at the object itself, the other at its ready set, and each wants one of two
/// items.
#[test]
fn loom_sleeper_and_selector_get_one_each() {
    model(|| {
        let thing = Thing::new(1);
        let sleeper = {
            let thing = thing.clone();
            thread::spawn(move || thing.get())
        };
        let producer = {
            let thing = thing.clone();
            thread::spawn(move || {
                thing.put();
                thing.put();
            })
        };
        thing.drain(0, 1);
        sleeper.join().unwrap();
        producer.join().unwrap();
    });
}
