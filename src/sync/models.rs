//! Models for loom of a wait queue, a barrier and a semaphore.
//!
//! The heap's transaction is a mutex here. What it guards are atomics, because they are also read without it. The
//! robust lock and the journal have models of their own (`wait/models.rs`). Sleeping and waking are as in
//! `wait_queue/sleep.rs`; barrier and semaphore have the real event count. The semaphore has the real bias, and a
//! mutex for its lock.

use super::bias::{Bias, Share};
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering, fence_after_rmw};
use crate::wait::event_count::{EventCount, Probe, ProbeAll};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::collections::VecDeque;

const NOWHERE: u32 = 0;
const QUEUED: u32 = 1;
const NOTIFIED: u32 = 2;

fn check(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

// ---- the wait queue ----

struct Record {
    wait_state: AtomicU32,
    asleep: AtomicU32,
}

/// A wait queue for a number of threads.
struct WaitQueue<const N: usize> {
    transaction: Mutex<VecDeque<usize>>,
    records: [Record; N],
}

impl<const N: usize> WaitQueue<N> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            transaction: Mutex::new(VecDeque::new()),
            records: core::array::from_fn(|_| Record {
                wait_state: AtomicU32::new(NOWHERE),
                asleep: AtomicU32::new(0),
            }),
        })
    }

    fn join(&self, who: usize) {
        let mut queue = self.transaction.lock().unwrap();
        queue.push_back(who);
        self.records[who].wait_state.store(QUEUED, Ordering::Release);
    }

    fn is_notified(&self, who: usize) -> bool {
        self.records[who].wait_state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Does what `QueuedWaiter::sleep` does without a deadline.
    fn sleep(&self, who: usize) {
        let record = &self.records[who];
        while !self.is_notified(who) {
            record.asleep.swap(1, Ordering::SeqCst);
            fence_after_rmw();
            record.wait_state.futex_wait(QUEUED, 0);
        }
    }

    fn call(&self, queue: &mut VecDeque<usize>) -> Option<usize> {
        let first = queue.pop_front()?;
        self.records[first].wait_state.store(NOTIFIED, Ordering::Release);
        Some(first)
    }

    fn wake(&self, who: Option<usize>) {
        fence_after_rmw();
        if let Some(who) = who
            && self.records[who].asleep.load(Ordering::Relaxed) != 0
        {
            self.records[who].wait_state.futex_wake(u32::MAX);
        }
    }

    fn notify_one(&self) -> bool {
        let called = self.call(&mut self.transaction.lock().unwrap());
        self.wake(called);
        called.is_some()
    }

    /// Does what `QueuedWaiter::leave_queue` does: timed out (then a notification at the last moment counts), or
    /// interrupted or dead (then it is passed on). Returns true if the notification counts.
    fn leave_queue(&self, who: usize, uses_it: bool) -> bool {
        let mut queue = self.transaction.lock().unwrap();
        let (answer, next) = match (self.is_notified(who), uses_it) {
            (true, true) => (true, None),
            (true, false) => (false, self.call(&mut queue)),
            (false, _) => {
                queue.retain(|&other| other != who);
                (false, None)
            }
        };
        self.records[who].wait_state.store(NOWHERE, Ordering::Release);
        drop(queue);
        self.wake(next);
        answer
    }
}

#[test]
fn loom_line_loses_no_call() {
    check(3, || {
        let queue = WaitQueue::<1>::new();
        queue.join(0);
        let notifier = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.notify_one()))
        };
        queue.sleep(0);
        notifier.join().unwrap();
    });
}

#[test]
fn loom_line_calls_each_once() {
    check(2, || {
        let queue = WaitQueue::<2>::new();
        queue.join(0);
        queue.join(1);
        let [waiter, notifier] = [
            {
                let queue = queue.clone();
                thread::spawn(move || queue.sleep(0))
            },
            {
                let queue = queue.clone();
                thread::spawn(move || assert!(queue.notify_one()))
            },
        ];
        assert!(queue.notify_one());
        queue.sleep(1);
        waiter.join().unwrap();
        notifier.join().unwrap();
        assert!(!queue.notify_one(), "nobody is left");
    });
}

/// One notification, and the first in the queue times out meanwhile: one of the two threads makes use of it.
#[test]
fn loom_line_a_call_at_the_last_moment_counts_or_is_another_s() {
    check(3, || {
        let queue = WaitQueue::<2>::new();
        queue.join(0);
        queue.join(1);
        let leaver = {
            let queue = queue.clone();
            thread::spawn(move || queue.leave_queue(0, true))
        };
        assert!(queue.notify_one());
        let used = leaver.join().unwrap();
        assert!(used != queue.is_notified(1), "exactly one");
    });
}

/// One notification, and the first in the queue is interrupted, or dies: the second makes use of it, in any order.
#[test]
fn loom_line_a_call_is_passed_on() {
    check(3, || {
        let queue = WaitQueue::<2>::new();
        queue.join(0);
        queue.join(1);
        let leaver = {
            let queue = queue.clone();
            thread::spawn(move || assert!(!queue.leave_queue(0, false)))
        };
        let notifier = {
            let queue = queue.clone();
            thread::spawn(move || assert!(queue.notify_one()))
        };
        queue.sleep(1);
        leaver.join().unwrap();
        notifier.join().unwrap();
    });
}

// ---- the barrier ----

/// A barrier. The mutex guards the count, and the flag that says that it is broken.
struct Barrier {
    parties: u64,
    transaction: Mutex<(u64, bool)>,
    generation: AtomicU64,
    last_broken: AtomicU64,
    event_count: EventCount,
}

impl Barrier {
    fn of(parties: u64) -> Arc<Self> {
        Arc::new(Self {
            parties,
            transaction: Mutex::new((0, false)),
            generation: AtomicU64::new(0),
            last_broken: AtomicU64::new(0),
            event_count: EventCount::new(),
        })
    }

    fn end(&self, state: &mut (u64, bool), broken: bool) {
        let generation = self.generation.load(Ordering::Relaxed);
        if broken {
            self.last_broken.store(generation + 1, Ordering::Release);
        }
        *state = (0, broken);
        self.generation.store(generation + 1, Ordering::Release);
    }

    /// Arrives. Returns the generation, or how it ended at once.
    fn arrive(&self) -> Result<u64, bool> {
        let mut state = self.transaction.lock().unwrap();
        if state.1 {
            return Err(false);
        }
        if state.0 + 1 == self.parties {
            self.end(&mut state, false);
            drop(state);
            self.event_count.notify_all();
            return Err(true);
        }
        state.0 += 1;
        Ok(self.generation.load(Ordering::Relaxed))
    }

    /// Returns true if the generation ended well.
    fn wait(&self) -> bool {
        let mine = match self.arrive() {
            Ok(generation) => generation,
            Err(passed) => return passed,
        };
        let over = || self.generation.load(Ordering::Acquire) != mine;
        let waited = (self.event_count).attempt_or_wait(&mut ProbeAll(over), Deadline::Never);
        assert!(waited.is_ok());
        self.last_broken.load(Ordering::Relaxed) <= mine
    }

    /// Does what a party does that arrived in `generation` and timed out, or what is done for it when it died.
    fn forsake(&self, generation: u64) -> bool {
        let mut state = self.transaction.lock().unwrap();
        let in_time = self.generation.load(Ordering::Relaxed) == generation;
        if in_time {
            self.end(&mut state, true);
        }
        drop(state);
        self.event_count.notify_all();
        in_time
    }
}

#[test]
fn loom_barrier_lets_everybody_through_again_and_again() {
    check(2, || {
        let barrier = Barrier::of(2);
        let other = {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.wait() && barrier.wait())
        };
        assert!(barrier.wait() && barrier.wait());
        assert!(other.join().unwrap());
    });
}

/// A party that has arrived dies while the other one comes: both passed, or the other one finds it broken.
#[test]
fn loom_barrier_is_broken_by_the_dead_or_was_passed() {
    check(3, || {
        let barrier = Barrier::of(2);
        let arrived = barrier.arrive().unwrap();
        let survivor = {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.forsake(arrived))
        };
        let passed = barrier.wait();
        assert!(passed != survivor.join().unwrap(), "one or the other");
    });
}

/// A party that has arrived dies while another one waits and the last never comes: the waiting one is told.
#[test]
fn loom_barrier_wakes_who_waits_with_the_dead() {
    check(3, || {
        let barrier = Barrier::of(3);
        let arrived = barrier.arrive().unwrap();
        let survivor = {
            let barrier = barrier.clone();
            thread::spawn(move || assert!(barrier.forsake(arrived)))
        };
        assert!(!barrier.wait());
        survivor.join().unwrap();
    });
}

// ---- the semaphore ----

/// A semaphore that is biased at every change. The mutex is its lock, and guards the processes' tallies. A process's
/// owner id is its place among them, from 1 on.
struct Permits {
    bias: Bias,
    free: EventCount,
    value: AtomicU64,
    lock: Mutex<[u64; 4]>,
    /// The number of threads inside.
    inside: AtomicU32,
}

impl Permits {
    /// Makes one with a bias towards process 1, which began when no permit was free.
    fn of(free: u64) -> Arc<Self> {
        let bias = Bias::new();
        bias.begin(Share {
            owner: 1,
            free,
            taken: 0,
        });
        Arc::new(Self {
            bias,
            free: EventCount::new(),
            value: AtomicU64::new(0),
            lock: Mutex::new([0; 4]),
            inside: AtomicU32::new(0),
        })
    }

    fn to_be_had(&self) -> u64 {
        match self.bias.share() {
            Some(share) => share.free,
            None => self.value.load(Ordering::Relaxed),
        }
    }

    /// Does what `View::locked`, `View::change` and `View::maybe_bias` do: takes a permit out (-1) or puts one in, if
    /// that can be done.
    fn change(&self, me: u32, more: i64) -> bool {
        let mut tallies = self.lock.lock().unwrap();
        if let Some(share) = self.bias.freeze() {
            self.value.store(share.free, Ordering::Release);
            tallies[share.owner as usize] = share.taken;
            self.bias.end();
        }
        let value = self.value.load(Ordering::Relaxed);
        let Some(value) = value.checked_add_signed(more) else {
            return false;
        };
        let tally = &mut tallies[me as usize];
        *tally = tally.checked_add_signed(-more).expect("it has one");
        self.value.store(value, Ordering::Release);
        self.bias.begin(Share {
            owner: me,
            free: value,
            taken: *tally,
        });
        true
    }

    fn acquire(&self, me: u32) {
        let has_some = || self.to_be_had() > 0;
        let attempt = || {
            let taken = self.bias.take(me) || (has_some() && self.change(me, -1));
            taken.then_some(())
        };
        let mut probe = Probe {
            ready: has_some,
            attempt,
        };
        let taken = self.free.attempt_or_wait(&mut probe, Deadline::Never);
        assert!(taken.is_ok());
    }

    fn release(&self, me: u32) {
        assert!(self.bias.give_back(me) || self.change(me, 1));
        self.free.notify_one();
    }

    /// Acquires a permit, checks that no other thread is inside, and releases it, `times` times.
    fn come_and_go(&self, me: u32, times: u32) {
        for _ in 0..times {
            self.acquire(me);
            assert_eq!(self.inside.swap(1, Ordering::Relaxed), 0, "one at a time");
            self.inside.store(0, Ordering::Relaxed);
            self.release(me);
        }
    }

    /// Checks at the end that the permit is free, and that no process has it.
    fn is_whole(&self) -> bool {
        let share = self.bias.share().expect("there was a change");
        (share.free, share.taken) == (1, 0)
    }
}

/// The bias is towards one process, the other one ends it, and both acquire again.
#[test]
fn loom_biased_semaphore_between_processes() {
    check(3, || {
        let permits = Permits::of(1);
        let other = {
            let permits = permits.clone();
            thread::spawn(move || permits.come_and_go(2, 1))
        };
        permits.come_and_go(1, 2);
        other.join().unwrap();
        assert!(permits.is_whole());
    });
}

/// Two threads of the process that the bias is towards, and another process.
#[test]
fn loom_biased_semaphore_between_threads_and_processes() {
    check(2, || {
        let permits = Permits::of(1);
        let [thread, process] = [1, 2].map(|me| {
            let permits = permits.clone();
            thread::spawn(move || permits.come_and_go(me, 1))
        });
        permits.come_and_go(1, 1);
        thread.join().unwrap();
        process.join().unwrap();
        assert!(permits.is_whole());
    });
}

/// There are enough permits for all: nobody sleeps while the bias is being ended, when a permit is free.
#[test]
fn loom_biased_semaphore_hides_no_permit() {
    check(3, || {
        let permits = Permits::of(2);
        let other = {
            let permits = permits.clone();
            thread::spawn(move || permits.acquire(3))
        };
        permits.acquire(2);
        other.join().unwrap();
    });
}
