//! The event: all waiters go on when it is set, even if it is cleared at once. It has no lock with which a process
//! could die.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{A_WHILE, METHODS, alone, not_before, until, watchdog};
use procession::{Error, Event, Process, Queue, StartMethod};
use random::{Random, long};
use std::thread;
use std::time::Duration;

#[test]
fn set_and_cleared() {
    let event = Event::new().unwrap();
    assert!(!event.is_set());
    assert!(event.set() && !event.set());
    assert!(event.is_set());
    event.wait().unwrap();
    event.wait_timeout(Duration::ZERO).unwrap();
    assert!(format!("{event:?}").contains("true"), "{event:?}");
    assert!(event.clear() && !event.clear());
    assert!(!event.is_set());
    assert_eq!(event.wait_timeout(Duration::ZERO), Err(Error::Timeout));
}

#[test]
fn a_deadline_does_not_come_early() {
    let _watchdog = watchdog();
    let event = Event::new().unwrap();
    for timeout in [1, 30, 120].map(Duration::from_millis) {
        let late = not_before(timeout, || event.wait_timeout(timeout));
        assert_eq!(late, Err(Error::Timeout));
    }
    event.set();
    event.wait_timeout(Duration::MAX).unwrap();
}

/// Checks that all threads that wait when the event is set go on, however soon it is cleared. It runs in a program of
/// its own, where no other thread waits.
#[test]
fn set_and_cleared_at_once_wakes_all_waiters() {
    alone("set_and_cleared_at_once_wakes_all_waiters", || {
        let _watchdog = watchdog();
        let event = Event::new().unwrap();
        let waits = |count| procession::inspect().unwrap().waits.len() == count;
        for _ in 0..20 {
            thread::scope(|scope| {
                let waiters = [(); 3].map(|()| scope.spawn(|| event.wait()));
                until(|| waits(3));
                event.set();
                event.clear();
                for waiter in waiters {
                    waiter.join().unwrap().unwrap();
                }
            });
        }
    });
}

fn answer(ask: Event, answer: Event, times: u32) {
    for _ in 0..times {
        ask.wait().unwrap();
        ask.clear();
        answer.set();
    }
}

#[procession::test]
fn there_and_back_between_processes() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (ask, reply) = (Event::new().unwrap(), Event::new().unwrap());
        let args = (ask.clone(), reply.clone(), 500);
        let other = Process::builder().method(method).spawn(answer, args).unwrap();
        for _ in 0..500 {
            ask.set();
            reply.wait().unwrap();
            reply.clear();
        }
        other.join().unwrap();
    }
}

#[procession::test]
fn it_travels_through_queues() {
    let _watchdog = watchdog();
    let (road, event) = (Queue::unbounded().unwrap(), Event::new().unwrap());
    road.put(event.clone()).unwrap();
    road.get().unwrap().set();
    assert!(event.is_set());
}

/// Sets and clears the event for ever, or waits for it for ever.
fn keep_busy(event: Event, waits: bool) {
    loop {
        if waits {
            event.wait().unwrap();
        } else {
            event.set();
            event.clear();
        }
    }
}

#[procession::test]
fn random_deaths_leave_it_whole() {
    let _watchdog = watchdog();
    let mut random = Random::new(7);
    let event = Event::new().unwrap();
    for _ in 0..long(100) {
        let processes = [true, false].map(|waits| {
            let builder = Process::builder().method(StartMethod::Fork);
            builder.spawn(keep_busy, (event.clone(), waits)).unwrap()
        });
        thread::sleep(Duration::from_micros(random.below(3_000)));
        for process in processes {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        event.clear();
        let late = event.wait_timeout(Duration::from_micros(100));
        assert_eq!(late, Err(Error::Timeout));
        event.set();
        event.wait().unwrap();
    }
}

#[procession::test]
fn a_forked_child_has_the_same() {
    let _watchdog = watchdog();
    let event = Event::new().unwrap();
    assert_eq!(event.wait_timeout(A_WHILE), Err(Error::Timeout));
    let other = event.clone();
    let child = Process::fork(move || other.wait()).unwrap();
    event.set();
    child.join().unwrap().unwrap();
}
