//! Death at every step of a condition, an event or a barrier, while threads of the survivor wait there too.

use super::{Corpse, dies_at_every_step, entry, run_to};
use crate::{Barrier, Condition, ConditionGuard, Error, Event};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_micros(20));
    }
}

/// Takes the lock of a condition, also from a dead owner, whose death is noticed at once.
fn lock(condition: &Condition) -> ConditionGuard<'_> {
    loop {
        match condition.try_lock().or_else(|error| error.into_guard().ok_or(())) {
            Ok(guard) => return guard,
            Err(()) => thread::yield_now(),
        }
    }
}

/// Carries out what a dead process had decided.
fn replay_journal() {
    crate::program::heap()
        .expect("a heap")
        .replay_journal()
        .expect("nobody is stopped");
}

/// A condition at which threads of this process wait; in the end they all wake.
struct Waited {
    condition: Condition,
    waiters: RefCell<Vec<JoinHandle<()>>>,
    /// Set when no more notifications will come.
    over: Arc<AtomicBool>,
}

impl Waited {
    fn by(count: usize) -> Self {
        let waited = Self {
            condition: Condition::new().expect("a condition"),
            waiters: RefCell::default(),
            over: Arc::default(),
        };
        for n in 1..=count {
            waited.add(0);
            until(|| waited.condition.waiting() == n);
        }
        waited
    }

    /// Adds a waiting thread, which begins to wait when at least `behind` threads wait.
    fn add(&self, behind: usize) {
        let (condition, over) = (self.condition.clone(), self.over.clone());
        self.waiters.borrow_mut().push(thread::spawn(move || {
            until(|| condition.waiting() >= behind || over.load(Ordering::SeqCst));
            let mut guard = lock(&condition);
            if !over.load(Ordering::SeqCst) {
                match guard.wait() {
                    Ok(()) | Err(Error::OwnerDied { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }

    fn asleep(&self) -> usize {
        self.waiters
            .borrow()
            .iter()
            .filter(|waiter| !waiter.is_finished())
            .count()
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let waiters = self.waiters.take();
        until(|| {
            lock(&self.condition).notify_all();
            waiters.iter().all(JoinHandle::is_finished)
        });
        for waiter in waiters {
            waiter.join().expect("it only waits");
        }
        assert_eq!(self.condition.waiting(), 0);
    }
}

#[test]
fn notifying() {
    dies_at_every_step(
        || Waited::by(3),
        |waited| assert_eq!(waited.condition.lock().expect("free").notify(2), 2),
        |waited, through| {
            let left = {
                let _guard = lock(&waited.condition);
                waited.condition.waiting()
            };
            // Both or none: a notified thread goes on, if need be after a second.
            assert!(left == 1 || (left == 3 && !through), "{left} left");
            until(|| waited.asleep() == left);
        },
    );
}

#[test]
fn waiting_in_vain() {
    dies_at_every_step(
        || Waited::by(1),
        |waited| {
            let mut guard = waited.condition.lock().expect("free");
            assert_eq!(guard.wait_timeout(Duration::ZERO), Err(Error::Timeout));
            assert_eq!(guard.wait_timeout(Duration::from_micros(10)), Err(Error::Timeout));
        },
        |waited, _| {
            // The first thread in the wait queue is still the first.
            lock(&waited.condition).notify_one();
            until(|| waited.asleep() == 0);
        },
    );
}

#[test]
fn being_notified() {
    dies_at_every_step(
        || {
            let waited = Waited::by(0);
            // One thread that waits after the process that dies, and one that notifies once.
            waited.add(1);
            let (condition, over) = (waited.condition.clone(), waited.over.clone());
            waited.waiters.borrow_mut().push(thread::spawn(move || {
                until(|| condition.waiting() == 2 || over.load(Ordering::SeqCst));
                lock(&condition).notify_one();
            }));
            waited
        },
        |waited| waited.condition.lock().expect("free").wait().expect("notified"),
        |waited, through| {
            if through {
                until(|| waited.asleep() == 1);
                assert_eq!(waited.condition.waiting(), 1, "the call was used up");
            }
        },
    );
}

/// An event for which a thread of this process waits.
struct Awaited(Event, Option<JoinHandle<()>>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.set();
        let waiter = self.1.take().expect("it is there until now");
        waiter.join().expect("it only waits");
    }
}

#[test]
fn setting_and_clearing() {
    dies_at_every_step(
        || {
            let event = Event::new().expect("an event");
            let same = event.clone();
            let waiter = thread::spawn(move || same.wait().expect("nobody interrupts"));
            Awaited(event, Some(waiter))
        },
        |Awaited(event, _)| {
            event
                .wait_timeout(Duration::from_micros(10))
                .expect_err("it is not set");
            assert!(event.set());
            event.wait().expect("it is set");
            assert!(event.clear());
        },
        |Awaited(event, waiter), through| {
            assert!(!through || !event.is_set());
            if event.is_set() {
                until(|| waiter.as_ref().is_some_and(JoinHandle::is_finished));
            }
        },
    );
}

/// A barrier at which a thread of this process waits, and the answer that the thread got.
struct Met {
    barrier: Barrier,
    party: RefCell<Option<JoinHandle<Result<usize, Error>>>>,
}

impl Met {
    fn of(parties: usize) -> Self {
        let barrier = Barrier::new(parties).expect("a barrier");
        let same = barrier.clone();
        let party = thread::spawn(move || same.wait());
        until(|| barrier.waiting() == 1);
        Self {
            barrier,
            party: RefCell::new(Some(party)),
        }
    }

    fn told(&self) -> Result<usize, Error> {
        let party = self.party.take().expect("it is asked once");
        party.join().expect("it only waits")
    }

    /// Checks that the barrier works again after a reset, whichever process died, and that later clearing up does not
    /// break it again.
    fn renew(&self) {
        self.barrier.reset();
        assert_eq!((self.barrier.waiting(), self.barrier.is_broken()), (0, false));
    }
}

impl Drop for Met {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert!(
                !self.barrier.is_broken(),
                "broken by somebody of the generation before"
            );
        }
    }
}

#[test]
fn arriving_last() {
    dies_at_every_step(
        || Met::of(2),
        |met| assert_eq!(met.barrier.wait(), Ok(1)),
        |met, through| {
            replay_journal();
            if !through && met.barrier.waiting() == 1 {
                met.barrier.abort();
                assert_eq!(met.told(), Err(Error::BrokenBarrier));
            } else {
                assert_eq!(met.told(), Ok(0));
            }
            met.renew();
        },
    );
}

#[test]
fn acting() {
    dies_at_every_step(
        || Met::of(2),
        |met| {
            // A change of shared memory is where it may die in the action.
            assert_eq!(met.barrier.wait_then(crate::wait::atomic::crash_point), Ok(1));
        },
        |met, through| {
            replay_journal();
            if !through && met.barrier.waiting() == 1 {
                met.barrier.abort();
            }
            // No party waits for the action of a dead process.
            let told = met.told();
            assert!(
                told == Ok(0) || (!through && told == Err(Error::BrokenBarrier)),
                "{told:?}"
            );
            met.renew();
        },
    );
}

#[test]
fn timing_out() {
    dies_at_every_step(
        || Met::of(3),
        |met| {
            let late = met.barrier.wait_timeout(Duration::from_micros(10));
            assert_eq!(late, Err(Error::Timeout));
        },
        |met, through| {
            replay_journal();
            assert!(!through || met.barrier.is_broken());
            if met.barrier.waiting() == 1 {
                met.barrier.abort();
            }
            assert_eq!(met.told(), Err(Error::BrokenBarrier));
            met.renew();
        },
    );
}

#[test]
fn aborting_and_resetting() {
    dies_at_every_step(
        || Met::of(2),
        |met| {
            met.barrier.abort();
            met.barrier.reset();
        },
        |met, through| {
            replay_journal();
            assert!(!through || !met.barrier.is_broken());
            if met.barrier.waiting() == 1 {
                met.barrier.abort();
            }
            assert_eq!(met.told(), Err(Error::BrokenBarrier));
            met.renew();
        },
    );
}

/// Kills the survivor too, while it removes the dead process's threads from wait queues and barriers.
#[test]
fn clearing_up() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || {
            let (waited, barrier) = (Waited::by(0), Barrier::new(3).expect("a barrier"));
            let reserved = entry(heap);
            let dead = reserved.id;
            run_to(reserved, 0, || {
                // One thread that is notified and cannot go on, one that waits for the lock, one at the barrier.
                let (condition, same) = (&waited.condition, &barrier);
                thread::scope(|scope| {
                    scope.spawn(|| same.wait());
                    scope.spawn(|| lock(condition).wait());
                    until(|| condition.waiting() == 1 && same.waiting() == 1);
                    let guard = lock(condition);
                    guard.notify_one();
                    scope.spawn(|| lock(condition).wait());
                    // These threads are not joined.
                    crate::os::fork::exit_now(0)
                });
            });
            waited.add(0);
            heap.no_longer_wanted(dead).expect("memory");
            (waited, barrier, Corpse(heap, dead))
        },
        |(.., dead)| heap.clear_up(dead.1).expect("memory"),
        |(waited, barrier, dead), _| {
            heap.clear_up(dead.1).expect("memory");
            assert!(barrier.is_broken());
            // The thread that came later was not notified in place of the dead one.
            until(|| waited.condition.waiting() == 1);
        },
    );
}
