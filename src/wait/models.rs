//! Models of the robust lock and of the event count for loom: every interleaving, and every order that the memory
//! model allows. Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib loom_`.

use super::atomic::{AtomicU64, Ordering, fence_after_rmw};
use super::event_count::{EventCount, Probe};
use super::robust_lock::{Acquired, Manner, RobustLock};
use super::sleeper::Sleeper;
use crate::os::clock::Deadline;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

fn all_alive(_: u32) -> bool {
    true
}

struct Guarded {
    lock: RobustLock,
    value: UnsafeCell<u32>,
}

// SAFETY: the models touch `value` only while they hold `lock`; loom checks that they do.
#[allow(unsafe_code)]
unsafe impl Sync for Guarded {}

impl Guarded {
    fn increment(&self, me: u32) -> Acquired {
        self.increment_as(Manner::Short(0), me)
    }

    #[allow(unsafe_code)]
    fn increment_as(&self, manner: Manner, me: u32) -> Acquired {
        let locked = self
            .lock
            .lock_as(manner, me, Deadline::Never, all_alive, || false, || ())
            .unwrap();
        // SAFETY: exclusive while the lock is held; loom reports it if not.
        self.value.with_mut(|v| unsafe { *v += 1 });
        self.lock.unlock();
        locked
    }
}

#[test]
fn loom_robust_lock_excludes_and_wakes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new(Guarded {
            lock: RobustLock::new(),
            value: UnsafeCell::new(0),
        });
        let others: Vec<_> = [1, 2]
            .map(|me| {
                let shared = shared.clone();
                thread::spawn(move || assert_eq!(shared.increment(me), Acquired::Clean))
            })
            .into_iter()
            .collect();
        assert_eq!(shared.increment(3), Acquired::Clean);
        others.into_iter().for_each(|t| t.join().unwrap());
        #[allow(unsafe_code)]
        // SAFETY: every other thread has been joined.
        shared.value.with(|v| assert_eq!(unsafe { *v }, 3));
    });
}

#[test]
fn loom_robust_lock_of_the_dead_is_inherited_once() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new(Guarded {
            lock: RobustLock::new(),
            value: UnsafeCell::new(0),
        });
        // Process 7 takes the lock and dies; a survivor marks it while two others ask for it.
        assert_eq!(
            shared
                .lock
                .lock(7, Deadline::Never, 0, all_alive, || false, || ()),
            Some(Acquired::Clean)
        );
        let marker = {
            let shared = shared.clone();
            thread::spawn(move || assert!(shared.lock.mark_owner_dead(7)))
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.increment(1))
        };
        let mine = shared.increment(2);
        let theirs = other.join().unwrap();
        marker.join().unwrap();
        assert!(
            (mine == Acquired::Clean) != (theirs == Acquired::Clean),
            "exactly one is told: {mine:?} {theirs:?}"
        );
    });
}

/// Each thread that has slept starves, and so does the next one.
const HUNGRY: Manner = Manner::Fair {
    starves_after: 0,
    content: 0,
};
/// Each thread that has slept starves, and the one that gets the lock removes the mark.
const FED: Manner = Manner::Fair {
    starves_after: 0,
    content: u64::MAX,
};

/// Checks that a lock that is handed over excludes like any other, whether or not the mark `STARVING` stays. Also
/// checks that no thread sleeps for ever: neither those that the lock is handed over to nor those that come meanwhile.
fn starving_lock(manner: Manner, lock: fn() -> RobustLock) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let shared = Arc::new(Guarded {
            lock: lock(),
            value: UnsafeCell::new(0),
        });
        let others: Vec<_> = [1, 2]
            .map(|me| {
                let shared = shared.clone();
                thread::spawn(move || assert_eq!(shared.increment_as(manner, me), Acquired::Clean))
            })
            .into_iter()
            .collect();
        // The lock is held, by this thread.
        assert!(shared.lock.unlock());
        assert_eq!(shared.increment_as(manner, 3), Acquired::Clean);
        others.into_iter().for_each(|t| t.join().unwrap());
        #[allow(unsafe_code)]
        // SAFETY: every other thread has been joined.
        shared.value.with(|v| assert_eq!(unsafe { *v }, 3));
    });
}

#[test]
fn loom_starving_lock_is_handed_over() {
    starving_lock(HUNGRY, || RobustLock::held(7));
}

#[test]
fn loom_starving_lock_is_satisfied() {
    starving_lock(FED, || RobustLock::held(7));
}

/// Checks a lock with the mark of a process that died: it is handed over to no thread, and becomes free.
#[test]
fn loom_robust_lock_that_starves_for_nobody_comes_free() {
    starving_lock(FED, || RobustLock::starving(7));
}

/// Checks that the others get the lock if the thread it is handed over to leaves.
#[test]
fn loom_starving_lock_waiter_that_leaves_forgets_nobody() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new(Guarded {
            lock: RobustLock::starving(7),
            value: UnsafeCell::new(0),
        });
        let leaver = {
            let shared = shared.clone();
            thread::spawn(move || {
                let lock = &shared.lock;
                if lock
                    .lock_as(HUNGRY, 1, Deadline::Never, all_alive, || true, || ())
                    .is_some()
                {
                    lock.unlock();
                }
            })
        };
        let stayer = {
            let shared = shared.clone();
            thread::spawn(move || assert_eq!(shared.increment_as(HUNGRY, 2), Acquired::Clean))
        };
        shared.lock.unlock();
        leaver.join().unwrap();
        stayer.join().unwrap();
    });
}

/// Checks that the sleeper sees the one change of a notifier, in every order.
#[test]
fn loom_event_count_loses_no_wake_up() {
    loom::model(|| {
        let shared = Arc::new((EventCount::new(), AtomicU64::new(0), AtomicU64::new(0)));
        let notifier = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.store(1, Ordering::Release);
                // In place of the lock under which every change is made: a read-modify-write before the notification.
                shared.2.swap(1, Ordering::AcqRel);
                shared.0.notify_one();
            })
        };
        while shared.1.load(Ordering::Acquire) == 0 {
            let epoch = shared.0.prepare_wait();
            if shared.1.load(Ordering::Acquire) == 0 {
                shared.0.sleep(epoch, Deadline::Never, &mut Sleeper::new());
            }
        }
        notifier.join().unwrap();
    });
}

/// Checks two items and two sleepers that each want one: `pass_baton` makes good a notification that found no
/// `WAITERS`.
#[test]
fn loom_event_count_passes_on() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        // EventCount, items put, items taken.
        let shared = Arc::new((EventCount::new(), AtomicU64::new(0), AtomicU64::new(0)));
        let take = |s: &(EventCount, AtomicU64, AtomicU64)| {
            let taken = s.2.load(Ordering::SeqCst);
            taken < s.1.load(Ordering::SeqCst)
                && s.2
                    .compare_exchange(taken, taken + 1, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
        };
        let more =
            |s: &(EventCount, AtomicU64, AtomicU64)| s.2.load(Ordering::SeqCst) < s.1.load(Ordering::SeqCst);
        let consume = move |s: &(EventCount, AtomicU64, AtomicU64)| {
            let mut slept = false;
            while !take(s) {
                let epoch = s.0.prepare_wait();
                if !more(s) {
                    slept = true;
                    s.0.sleep(epoch, Deadline::Never, &mut Sleeper::new());
                }
            }
            if slept {
                s.0.pass_baton(|| more(s));
            }
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || consume(&shared))
        };
        let producer = {
            let shared = shared.clone();
            thread::spawn(move || {
                for n in 1..=2 {
                    shared.1.swap(n, Ordering::SeqCst);
                    fence_after_rmw();
                    shared.0.notify_one();
                }
            })
        };
        consume(&shared);
        other.join().unwrap();
        producer.join().unwrap();
    });
}

/// Checks a held lock with two waiters. One of them gives up; even if the wake-up went to that one, the other gets the
/// lock.
#[test]
fn loom_robust_lock_waiter_that_leaves_forgets_nobody() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared = Arc::new(Guarded {
            lock: RobustLock::new(),
            value: UnsafeCell::new(0),
        });
        assert_eq!(
            shared
                .lock
                .lock(3, Deadline::Never, 0, all_alive, || false, || ()),
            Some(Acquired::Clean)
        );
        let leaver = {
            let shared = shared.clone();
            thread::spawn(move || {
                // Woken, it leaves, unless it gets the lock first.
                if shared
                    .lock
                    .lock(1, Deadline::Never, 0, all_alive, || true, || ())
                    .is_some()
                {
                    shared.lock.unlock();
                }
            })
        };
        let stayer = {
            let shared = shared.clone();
            thread::spawn(move || assert_eq!(shared.increment(2), Acquired::Clean))
        };
        shared.lock.unlock();
        // And a newcomer, which may take the lock before the one that was woken.
        assert_eq!(shared.increment(3), Acquired::Clean);
        leaver.join().unwrap();
        stayer.join().unwrap();
    });
}

/// The value of a semaphore and its event count. Here one atomic exchange changes the value; in the semaphore it is a
/// lock and a journal that let no change be seen half done.
struct Permits {
    value: AtomicU64,
    free: EventCount,
}

impl Permits {
    fn new(value: u64) -> Arc<Self> {
        Arc::new(Self {
            value: AtomicU64::new(value),
            free: EventCount::new(),
        })
    }

    /// Adds `n` unless the count would become negative, as `View::try_acquire` and `View::release` do.
    fn add(&self, n: i64) -> bool {
        let mut value = self.value.load(Ordering::Relaxed);
        loop {
            let Some(next) = value.checked_add_signed(n) else {
                return false;
            };
            match self
                .value
                .compare_exchange(value, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => value = now,
            }
        }
    }

    fn release(&self) {
        assert!(self.add(1));
        self.free.notify_one();
    }

    fn has_some(&self) -> bool {
        self.value.load(Ordering::Relaxed) > 0
    }

    fn acquire(&self) {
        let mut probe = Probe {
            ready: || self.has_some(),
            attempt: || self.add(-1).then_some(()),
        };
        let taken = self.free.attempt_or_wait(&mut probe, Deadline::Never);
        assert!(taken.is_ok());
    }

    /// Acquires with a timeout that is over at the first wake-up. Returns whether it got a permit.
    fn acquire_or_leave(&self) -> bool {
        let tries = core::cell::Cell::new(0);
        let mut probe = Probe {
            ready: || self.has_some(),
            attempt: || {
                tries.set(tries.get() + 1);
                match self.add(-1) {
                    true => Some(true),
                    false if tries.get() > 1 => Some(false),
                    false => None,
                }
            },
        };
        let taken = self.free.attempt_or_wait(&mut probe, Deadline::Never);
        taken == Ok(true)
    }
}

/// Checks a burst of releases, of which only the first may find `WAITERS`: each waiter gets a permit.
#[test]
fn loom_semaphore_wakes_as_many_as_there_are_permits() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let permits = Permits::new(0);
        let other = {
            let permits = permits.clone();
            thread::spawn(move || permits.acquire())
        };
        let giver = {
            let permits = permits.clone();
            thread::spawn(move || {
                permits.release();
                permits.release();
            })
        };
        permits.acquire();
        other.join().unwrap();
        giver.join().unwrap();
        assert_eq!(permits.value.load(Ordering::Relaxed), 0);
    });
}

/// Checks a waiter that was woken and leaves with nothing: the next release still wakes the one that stays.
#[test]
fn loom_semaphore_waiter_that_leaves_swallows_no_wake_up() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let permits = Permits::new(0);
        let leaver = {
            let permits = permits.clone();
            thread::spawn(move || permits.acquire_or_leave())
        };
        let stayer = {
            let permits = permits.clone();
            thread::spawn(move || permits.acquire())
        };
        // A thread that never sleeps takes what the first release gave, if it is quick: the one that is woken finds
        // nothing.
        permits.release();
        let quick = permits.add(-1);
        permits.release();
        if quick {
            permits.release();
        }
        stayer.join().unwrap();
        leaver.join().unwrap();
    });
}
