//! Fairness of a contended lock: each process gets a share.

mod common;

use common::watchdog;
use procession::{Event, Lock, Process, Queue, StartMethod};
use std::time::{Duration, Instant};

/// Long enough for many turns of each process; and a critical section long enough for the waiting processes to fall
/// asleep.
const TIME: Duration = Duration::from_secs(2);
const SECTION: Duration = Duration::from_micros(200);

fn take_turns(lock: Lock, start: Event, shares: Queue<u32>) {
    start.wait().unwrap();
    let (begun, mut share) = (Instant::now(), 0);
    while begun.elapsed() < TIME {
        let _guard = lock.lock().unwrap();
        share += 1;
        let section = Instant::now();
        while section.elapsed() < SECTION {
            std::hint::spin_loop();
        }
    }
    shares.put(share).unwrap();
}

/// Returns how often each of several processes gets a lock that all of them want all the time, in ascending order.
fn shares(processes: usize) -> Vec<u32> {
    let (lock, start, shares) = (
        Lock::new().unwrap(),
        Event::new().unwrap(),
        Queue::unbounded().unwrap(),
    );
    let all: Vec<_> = (0..processes)
        .map(|_| {
            let args = (lock.clone(), start.clone(), shares.clone());
            let fork = Process::builder().method(StartMethod::Fork);
            fork.spawn(take_turns, args).unwrap()
        })
        .collect();
    start.set();
    let mut got: Vec<u32> = all.iter().map(|_| shares.get().unwrap()).collect();
    all.into_iter().for_each(|process| process.join().unwrap());
    got.sort_unstable();
    got
}

#[procession::test]
fn everybody_gets_a_share() {
    let _watchdog = watchdog();
    let shares = shares(50);
    let (least, median, most) = (shares[0], shares[shares.len() / 2], shares[shares.len() - 1]);
    assert!(least >= median / 2 && most <= 3 * median, "{shares:?}");
}
