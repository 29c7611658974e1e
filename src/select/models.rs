//! Models of watching for loom: the real gates of an object and of a bell, with counts for what is in the object and a word
//! for what was rung. Under loom a futex wakes nobody by itself, so whoever is forgotten sleeps for ever.

use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::gate::Gate;
use loom::sync::Arc;
use loom::thread;

/// A selector's bell, and what its selector remembers from one wait to the next.
struct Bell {
    gate: Gate,
    rung: AtomicU64,
}

/// Something with items in it, and the bells of those who watch it.
struct Thing {
    gate: Gate,
    items: AtomicU64,
    bells: Vec<Bell>,
}

impl Thing {
    fn new(bells: usize) -> Arc<Self> {
        let bell = |_| Bell {
            gate: Gate::new(),
            rung: AtomicU64::new(0),
        };
        Arc::new(Self {
            gate: Gate::new(),
            items: AtomicU64::new(0),
            bells: (0..bells).map(bell).collect(),
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
        self.gate.notify_one_and(|| {
            for bell in &self.bells {
                bell.rung.fetch_or(1, Ordering::SeqCst);
                if bell.gate.disarm() {
                    bell.gate.wake(1);
                }
            }
        });
    }

    /// As a get that sleeps at the object's own gate.
    fn get(&self) {
        let got = self.gate.persist(
            Deadline::Never,
            || self.has_some(),
            || self.has_some(),
            || {},
            || (),
            || self.add(-1).then_some(()),
        );
        assert!(got.is_ok());
    }

    /// As `Selector::wait` with this as its only member.
    fn select(&self, bell: &Bell, hot: &mut bool) {
        loop {
            *hot |= bell.rung.load(Ordering::Relaxed) != 0 && bell.rung.swap(0, Ordering::AcqRel) != 0;
            if *hot {
                if self.has_some() {
                    return;
                }
                self.gate.watch();
                if self.has_some() {
                    return;
                }
                *hot = false;
            }
            let ticket = bell.gate.arm();
            if bell.rung.load(Ordering::Acquire) == 0 {
                bell.gate
                    .sleep(ticket, Deadline::Never, &mut crate::wait::sleeper::Sleeper::new());
            }
        }
    }

    /// Takes so many items, waiting for each through the selector.
    fn drain(&self, bell: usize, mut count: usize) {
        let mut hot = true;
        while count > 0 {
            self.select(&self.bells[bell], &mut hot);
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
