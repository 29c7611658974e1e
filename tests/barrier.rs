//! The barrier: no party goes on before all have arrived, and no party waits for a dead one.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{A_WHILE, METHODS, not_before, until, watchdog};
use procession::{Barrier, Error, Event, Process, Queue, StartMethod};
use random::{Random, long};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);

// ---- passing ----

#[test]
fn no_party_goes_on_before_all_have_arrived() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(4).unwrap();
    let (arrived, rounds) = (AtomicUsize::new(0), 500);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 1..=rounds {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    barrier.wait().unwrap();
                    let now = arrived.load(Ordering::SeqCst);
                    // The others may be in the next round, but cannot have passed it.
                    assert!(
                        (4 * round..4 * round + 4).contains(&now),
                        "{now} in round {round}"
                    );
                    barrier.wait_timeout(LONG).unwrap();
                }
            });
        }
    });
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

#[test]
fn numbers_are_in_the_order_of_arrival() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(3).unwrap();
    for _ in 0..3 {
        thread::scope(|scope| {
            let others = [0, 1].map(|n| {
                let other = scope.spawn(|| barrier.wait());
                until(|| barrier.waiting() == n + 1);
                other
            });
            assert_eq!(barrier.wait(), Ok(2));
            assert_eq!(others.map(|other| other.join().unwrap()), [Ok(0), Ok(1)]);
        });
    }
}

#[test]
fn for_one_party_and_for_none() {
    let barrier = Barrier::new(1).unwrap();
    assert_eq!(
        (barrier.wait(), barrier.try_wait(), barrier.parties()),
        (Ok(0), Ok(0), 1)
    );
    assert_eq!(Barrier::new(0).unwrap_err(), Error::NoParties);
    assert!(format!("{barrier:?}").contains("parties: 1"), "{barrier:?}");
}

#[test]
fn a_try_changes_nothing() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(2).unwrap();
    assert_eq!(barrier.try_wait(), Err(Error::Timeout));
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        until(|| barrier.waiting() == 1);
        assert_eq!(barrier.try_wait(), Ok(1));
        assert_eq!(other.join().unwrap(), Ok(0));
    });
}

// ---- the action ----

#[test]
fn the_last_one_acts_before_any_party_goes_on() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(3).unwrap();
    let (acts, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 1..=20 {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let action = || {
                        assert_eq!(passed.load(Ordering::SeqCst), 3 * (round - 1), "nobody went on");
                        acts.fetch_add(1, Ordering::SeqCst);
                    };
                    barrier.wait_then_timeout(LONG, action).unwrap();
                    assert_eq!(acts.load(Ordering::SeqCst), round);
                    passed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
    }
}

#[test]
fn a_party_that_comes_during_the_action_is_in_the_next_round() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(1).unwrap();
    let (started, end) = (Event::new().unwrap(), Event::new().unwrap());
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            barrier.wait_then(|| {
                started.set();
                end.wait().unwrap();
            })
        });
        started.wait().unwrap();
        let second = scope.spawn(|| barrier.wait());
        assert_eq!(
            barrier.wait_timeout(A_WHILE),
            Err(Error::Timeout),
            "it never arrived"
        );
        assert!(!second.is_finished() && !barrier.is_broken());
        end.set();
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (Ok(0), Ok(0)));
    });
}

#[test]
fn an_action_that_panics_breaks_it() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(2).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| barrier.wait());
        until(|| barrier.waiting() == 1);
        let acts = scope.spawn(|| barrier.wait_then(|| panic!("the action")));
        assert_eq!(other.join().unwrap(), Err(Error::BrokenBarrier));
        assert!(acts.join().is_err());
    });
    assert_eq!(
        (barrier.is_broken(), barrier.wait()),
        (true, Err(Error::BrokenBarrier))
    );
}

// ---- breaking ----

#[test]
fn a_party_that_times_out_breaks_it_for_all() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(3).unwrap();
    for timeout in [0, 1, 100].map(Duration::from_millis) {
        thread::scope(|scope| {
            let other = scope.spawn(|| barrier.wait());
            until(|| barrier.waiting() == 1);
            let late = not_before(timeout, || barrier.wait_timeout(timeout));
            assert_eq!(late, Err(Error::Timeout));
            assert_eq!(other.join().unwrap(), Err(Error::BrokenBarrier));
        });
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, true));
        assert_eq!(barrier.try_wait(), Err(Error::BrokenBarrier));
        barrier.reset();
        assert!(!barrier.is_broken());
        thread::scope(|scope| {
            let mut numbers = [(); 3]
                .map(|()| scope.spawn(|| barrier.wait().unwrap()))
                .map(|party| party.join().unwrap());
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 2]);
        });
    }
}

#[test]
fn aborted_and_reset() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(2).unwrap();
    for (break_it, stays) in [(Barrier::abort as fn(&Barrier), true), (Barrier::reset, false)] {
        thread::scope(|scope| {
            let other = scope.spawn(|| barrier.wait());
            until(|| barrier.waiting() == 1);
            break_it(&barrier);
            assert_eq!(other.join().unwrap(), Err(Error::BrokenBarrier));
        });
        assert_eq!((barrier.waiting(), barrier.is_broken()), (0, stays));
        barrier.reset();
    }
    barrier.abort();
    assert!(barrier.is_broken(), "also if nobody waits");
    barrier.reset();
    assert!(!barrier.is_broken());
}

#[test]
fn broken_during_the_action() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(1).unwrap();
    assert_eq!(barrier.wait_then(|| barrier.abort()), Err(Error::BrokenBarrier));
    barrier.reset();
    assert_eq!(barrier.wait_then(|| barrier.reset()), Err(Error::BrokenBarrier));
    assert_eq!(barrier.wait(), Ok(0));
}

// ---- processes ----

fn pass(barrier: Barrier, times: usize) -> usize {
    (0..times).map(|_| barrier.wait().unwrap()).sum()
}

#[procession::test]
fn processes_of_all_kinds_together() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(4).unwrap();
    let others = METHODS.map(|method| {
        let builder = Process::builder().method(method);
        builder.spawn(pass, (barrier.clone(), 300)).unwrap()
    });
    let mine = pass(barrier.clone(), 300);
    let all: usize = others.into_iter().map(|other| other.join().unwrap()).sum();
    assert_eq!(mine + all, 300 * (1 + 2 + 3));
}

#[procession::test]
fn it_travels_through_queues() {
    let _watchdog = watchdog();
    let (road, barrier) = (Queue::unbounded().unwrap(), Barrier::new(2).unwrap());
    road.put(barrier.clone()).unwrap();
    let same = road.get().unwrap();
    barrier.abort();
    assert!(same.is_broken());
}

// ---- deaths ----

fn arrive(barrier: Barrier) {
    let _ = barrier.wait();
}

fn act_for_ever(barrier: Barrier, acting: Event) {
    let _ = barrier.wait_then(|| {
        acting.set();
        thread::sleep(LONG);
    });
}

#[procession::test]
fn a_party_that_dies_waiting_breaks_it() {
    let _watchdog = watchdog();
    for method in METHODS {
        for reaped in [true, false] {
            let barrier = Barrier::new(3).unwrap();
            let victim = Process::builder()
                .method(method)
                .spawn(arrive, barrier.clone())
                .unwrap();
            until(|| barrier.waiting() == 1);
            thread::scope(|scope| {
                let other = scope.spawn(|| barrier.wait());
                until(|| barrier.waiting() == 2);
                victim.kill().unwrap();
                if reaped {
                    victim.wait().unwrap();
                }
                assert_eq!(other.join().unwrap(), Err(Error::BrokenBarrier));
            });
            assert!(barrier.is_broken());
        }
    }
}

#[procession::test]
fn a_party_that_dies_acting_breaks_it() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (barrier, acting) = (Barrier::new(2).unwrap(), Event::new().unwrap());
        thread::scope(|scope| {
            let other = scope.spawn(|| barrier.wait());
            until(|| barrier.waiting() == 1);
            let args = (barrier.clone(), acting.clone());
            let victim = Process::builder()
                .method(method)
                .spawn(act_for_ever, args)
                .unwrap();
            acting.wait().unwrap();
            assert!(!other.is_finished());
            victim.kill().unwrap();
            assert_eq!(other.join().unwrap(), Err(Error::BrokenBarrier));
            drop(victim);
        });
    }
}

#[procession::test]
fn a_party_that_dies_after_passing_breaks_nothing() {
    let _watchdog = watchdog();
    let barrier = Barrier::new(2).unwrap();
    for method in METHODS {
        let other = Process::builder()
            .method(method)
            .spawn(pass, (barrier.clone(), 2))
            .unwrap();
        barrier.wait().unwrap();
        // It waits in the next round, or will soon wait there.
        thread::scope(|scope| {
            scope.spawn(|| barrier.wait().unwrap());
        });
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!barrier.is_broken());
    }
}

fn keep_passing(barrier: Barrier) {
    loop {
        match barrier.wait_timeout(Duration::from_millis(100)) {
            Ok(_) => {}
            Err(Error::BrokenBarrier | Error::Timeout) => barrier.reset(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[procession::test]
fn random_deaths_leave_it_whole() {
    let _watchdog = watchdog();
    let mut random = Random::new(5);
    let barrier = Barrier::new(3).unwrap();
    let start = || {
        let builder = Process::builder().method(StartMethod::ForkServer);
        builder.spawn(keep_passing, barrier.clone()).unwrap()
    };
    let mut parties: Vec<_> = (0..4).map(|_| start()).collect();
    for _ in 0..long(200) {
        thread::sleep(Duration::from_micros(random.below(3_000)));
        let victim = parties.swap_remove(random.below(4) as usize);
        victim.kill().unwrap();
        victim.wait().unwrap();
        parties.push(start());
    }
    for party in &parties {
        party.kill().unwrap();
        party.wait().unwrap();
    }
    barrier.reset();
    assert_eq!(barrier.waiting(), 0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| barrier.wait().unwrap());
        }
    });
}
