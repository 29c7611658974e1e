//! Models of watching for loom: the real gates of an object and of a bell, with counts for what is in the object and a word
//! for what was rung. Under loom a futex wakes nobody by itself, so whoever is forgotten sleeps for ever.

use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::{EventCount, Probe};
use loom::sync::Arc;
use loom::thread;

/// A selector's bell, and what its selector remembers from one wait to the next.
struct ReadySet {
    event_count: EventCount,
    rung: AtomicU64,
}

/// Something with items in it, and the bells of those who watch it.
struct Thing {
    event_count: EventCount,
    items: AtomicU64,
    bells: Vec<ReadySet>,
}

impl Thing {
    fn new(bells: usize) -> Arc<Self> {
        let ready_set = |_| ReadySet {
            event_count: EventCount::new(),
            rung: AtomicU64::new(0),
        };
        Arc::new(Self {
            event_count: EventCount::new(),
            items: AtomicU64::new(0),
            bells: (0..bells).map(ready_set).collect(),
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

    /// As a put: the change, the notification, and as `tell` the bells.
    fn put(&self) {
        self.add(1);
        if self.event_count.notify(1) {
            for ready_set in &self.bells {
                ready_set.rung.fetch_or(1, Ordering::SeqCst);
                if ready_set.event_count.take_waiters() {
                    ready_set.event_count.wake(1);
                }
            }
        }
    }

    /// As a get that sleeps at the object's own gate.
    fn get(&self) {
        let mut probe = Probe {
            ready: || self.has_some(),
            attempt: || self.add(-1).then_some(()),
        };
        let got = self.event_count.attempt_or_wait(&mut probe, Deadline::Never);
        assert!(got.is_ok());
    }

    /// As `Selector::wait` with this as its only member.
    fn select(&self, ready_set: &ReadySet, hot: &mut bool) {
        loop {
            *hot |=
                ready_set.rung.load(Ordering::Relaxed) != 0 && ready_set.rung.swap(0, Ordering::AcqRel) != 0;
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
            if ready_set.rung.load(Ordering::Acquire) == 0 {
                ready_set.event_count.sleep(
                    epoch,
                    Deadline::Never,
                    &mut crate::wait::sleeper::Sleeper::new(),
                );
            }
        }
    }

    /// Takes so many items, waiting for each through the selector.
    fn drain(&self, ready_set: usize, mut count: usize) {
        let mut hot = true;
        while count > 0 {
            self.select(&self.bells[ready_set], &mut hot);
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
fn loom_watcher_is_told_each_time() {
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
fn loom_every_watcher_is_told() {
    model(|| {
        let thing = Thing::new(2);
        let other = {
            let thing = thing.clone();
            thread::spawn(move || thing.select(&thing.bells[1], &mut true))
        };
        let producer = {
            let thing = thing.clone();
            thread::spawn(move || thing.put())
        };
        thing.select(&thing.bells[0], &mut true);
        other.join().unwrap();
        producer.join().unwrap();
    });
}

/// Both marks at once: one sleeps at the object itself, the other one at its bell, and each wants one of two items.
#[test]
fn loom_sleeper_and_watcher_get_one_each() {
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
