//! Thousands of SIGKILLs at random moments: producers, consumers and lock holders die in the middle of their work, and
//! what the survivors see must be exact. `PROCESSION_LONG=1` kills ten times as many processes.

mod common;
#[path = "common/random.rs"]
mod random;

use common::watchdog_of;
use procession::{Error, Lock, LockError, LockGuard, Process, Queue, Semaphore, StartMethod};
use random::{Random, long};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A message that shows whether it is torn, duplicated or out of order.
#[derive(Serialize, Deserialize)]
struct Item {
    producer: u64,
    number: u64,
    /// Derived from the two fields above; of many sizes, so that all code paths run.
    content: Vec<u8>,
}

fn content(producer: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(producer << 32 ^ number);
    let len = match number % 40 {
        0 => 20_000 + random.below(60_000),
        1..=4 => 1000 + random.below(9000),
        _ => random.below(100),
    };
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn produce(queue: Queue<Item>, producer: u64) {
    for number in 0.. {
        // The survivor is slower, and an unbounded queue would use up all memory.
        while queue.len() > 500 {
            std::thread::sleep(Duration::from_micros(50));
        }
        let item = Item {
            producer,
            number,
            content: content(producer, number),
        };
        if queue.put(item).is_err() {
            return;
        }
    }
}

/// Gets messages and drops them, until it is killed.
fn swallow(queue: Queue<Item>) {
    while queue.get().is_ok() {}
}

fn method(random: &mut Random) -> StartMethod {
    if random.below(2) == 0 {
        StartMethod::ForkServer
    } else {
        StartMethod::Fork
    }
}

/// A surviving consumer's record of each producer: the smallest number that may come next.
#[derive(Default)]
struct Seen(HashMap<u64, u64>, u64);

impl Seen {
    fn check(&mut self, item: &Item, gaps_allowed: bool) {
        let next = self.0.entry(item.producer).or_insert(0);
        if gaps_allowed {
            assert!(
                item.number >= *next,
                "producer {}: {} again or too late",
                item.producer,
                item.number
            );
        } else {
            assert_eq!(
                item.number, *next,
                "producer {}: doubled, lost or out of order",
                item.producer
            );
        }
        *next = item.number + 1;
        let whole = item.content == content(item.producer, item.number);
        assert!(
            whole,
            "producer {}: message {} is torn",
            item.producer, item.number
        );
        self.1 += 1;
    }
}

/// Gets the messages that arrive within `for_long`. A get may time out, but a death must not hold up a survivor longer.
fn take_some(queue: &Queue<Item>, seen: &mut Seen, gaps: bool, for_long: Duration) {
    let end = Instant::now() + for_long;
    while Instant::now() < end {
        match queue.get_timeout(Duration::from_millis(1)) {
            Ok(item) => seen.check(&item, gaps),
            Err(Error::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Starts `kills` workers, and kills each after a random time. The queue must go on, bounded or not.
fn kill_workers(
    kills: u64,
    capacity: usize,
    gaps: bool,
    start: impl Fn(&mut Random, &Queue<Item>, u64) -> Process<()>,
    keep: Option<Process<()>>,
    queue: &Queue<Item>,
) {
    let mut random = Random::new(kills ^ capacity as u64);
    let mut seen = Seen::default();
    let mut running: Vec<Process<()>> = Vec::new();
    for n in 0..kills {
        running.push(start(&mut random, queue, n));
        take_some(queue, &mut seen, gaps, Duration::from_micros(random.below(1500)));
        if running.len() >= 3 {
            let victim = running.swap_remove(random.below(3) as usize);
            victim.kill().expect("SIGKILL");
            // Reaped at once, later, or by another call: all ways must work.
            match random.below(3) {
                0 => drop(victim.wait()),
                1 => drop(victim),
                _ => running.insert(0, victim),
            }
            if running.len() > 3 {
                drop(running.remove(0));
            }
        }
    }
    for process in running.drain(..) {
        process.kill().expect("SIGKILL");
        drop(process.wait());
    }
    drop(keep.map(|process| {
        process.kill().expect("SIGKILL");
        process.wait()
    }));
    // The messages left in the queue are whole too. After them the queue works as usual.
    while let Ok(item) = queue.try_get() {
        seen.check(&item, gaps);
    }
    queue
        .put(Item {
            producer: u64::MAX,
            number: 0,
            content: content(u64::MAX, 0),
        })
        .expect("a queue that works");
    seen.check(&queue.get().expect("the message"), gaps);
    assert!(seen.1 > kills / 4, "only {} messages: nothing was tested", seen.1);
    eprintln!("{kills} kills, {} messages seen", seen.1);
}

#[procession::test]
fn producers_are_killed() {
    let _watchdog = watchdog_of(3000);
    let queue = Queue::unbounded().expect("a queue");
    let start = |random: &mut Random, queue: &Queue<Item>, n: u64| {
        let builder = Process::builder().method(method(random)).daemon(true);
        builder.spawn(produce, (queue.clone(), n)).expect("a process")
    };
    kill_workers(long(700), 0, false, start, None, &queue);
}

#[procession::test]
fn producers_are_killed_at_a_full_queue() {
    let _watchdog = watchdog_of(3000);
    let queue = Queue::bounded(4).expect("a queue");
    let start = |random: &mut Random, queue: &Queue<Item>, n: u64| {
        let builder = Process::builder().method(method(random)).daemon(true);
        builder.spawn(produce, (queue.clone(), n)).expect("a process")
    };
    kill_workers(long(500), 4, false, start, None, &queue);
}

#[procession::test]
fn consumers_are_killed() {
    let _watchdog = watchdog_of(3000);
    let queue = Queue::bounded(100).expect("a queue");
    let builder = Process::builder().daemon(true);
    let producer = builder.spawn(produce, (queue.clone(), 0)).expect("a process");
    let start = |random: &mut Random, queue: &Queue<Item>, _: u64| {
        let builder = Process::builder().method(method(random)).daemon(true);
        builder.spawn(swallow, queue.clone()).expect("a process")
    };
    // Messages die with the killed consumers, in order: the survivor sees gaps, but no message twice and none late.
    kill_workers(long(500), 100, true, start, Some(producer), &queue);
}

/// Two words that are equal whenever the lock is free. They are the only message of a queue.
fn hold(lock: Lock, counters: Queue<(u64, u64)>) {
    loop {
        let (guard, _) = take(&lock, &counters);
        // Between the two calls the queue is empty: the lock reports a death here.
        let (a, b) = counters
            .try_get()
            .expect("the data, or somebody would have been told");
        assert_eq!(a, b, "two holders at once");
        counters.put((a + 1, b + 1)).expect("room");
        drop(guard);
    }
}

/// Takes the lock, and repairs the data if the last holder died. Returns whether it did.
fn take<'l>(lock: &'l Lock, data: &Queue<(u64, u64)>) -> (LockGuard<'l>, bool) {
    match lock.lock_timeout(PATIENCE) {
        Ok(guard) => (guard, false),
        Err(LockError::OwnerDied { guard, .. }) => {
            if data.is_empty() {
                data.put((0, 0)).expect("room");
            }
            (guard, true)
        }
        Err(error) => panic!("{error}"),
    }
}

#[procession::test]
fn lock_holders_are_killed() {
    let _watchdog = watchdog_of(3000);
    let lock = Lock::new().expect("a lock");
    let data = Queue::unbounded().expect("a queue");
    data.put((0, 0)).expect("room");
    let mut random = Random::new(7);
    let (mut told, kills) = (0, long(500));
    let mut running: Vec<Process<()>> = Vec::new();
    for _ in 0..kills {
        let builder = Process::builder().method(method(&mut random)).daemon(true);
        running.push(
            builder
                .spawn(hold, (lock.clone(), data.clone()))
                .expect("a process"),
        );
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        if running.len() >= 3 {
            let victim = running.swap_remove(random.below(3) as usize);
            victim.kill().expect("SIGKILL");
            if random.below(2) == 0 {
                drop(victim.wait());
            }
        }
        let (guard, died) = take(&lock, &data);
        assert_eq!(data.len(), 1, "the data are there for whoever holds the lock");
        drop(guard);
        told += u64::from(died);
    }
    for process in running {
        process.kill().expect("SIGKILL");
        drop(process.wait());
    }
    assert!(told > 0, "no holder was ever killed: nothing was tested");
    eprintln!("{kills} kills, {told} of them reported to this process");
}

/// Takes one of the seats. There are as many seats as permits, so a process with a permit finds a free seat or the seat
/// of a dead process. (A process leaves its seat before it releases its permit.)
fn sit(seats: &[Lock; 2]) -> LockGuard<'_> {
    let seat = seats.iter().find_map(|seat| match seat.try_lock() {
        Ok(guard) | Err(LockError::OwnerDied { guard, .. }) => Some(guard),
        Err(LockError::WouldBlock) => None,
        Err(error) => panic!("{error}"),
    });
    seat.expect("three inside, with permits for two")
}

fn come_and_go(semaphore: Semaphore, seats: [Lock; 2]) {
    loop {
        let permit = semaphore.acquire_timeout(PATIENCE).expect("a permit");
        let seat = sit(&seats);
        drop((seat, permit));
    }
}

/// Returns the deadline by which a permit or a lock must have come back from a process that died with it.
const PATIENCE: Duration = Duration::from_secs(60);

#[procession::test]
fn permit_holders_are_killed() {
    let _watchdog = watchdog_of(3000);
    let semaphore = Semaphore::bounded(2).expect("a semaphore");
    let seats = [(); 2].map(|()| Lock::new().expect("a lock"));
    let mut random = Random::new(11);
    let (mut told, kills) = (0, long(500));
    let mut running: Vec<Process<()>> = Vec::new();
    for _ in 0..kills {
        let builder = Process::builder().method(method(&mut random)).daemon(true);
        let args = (semaphore.clone(), seats.clone());
        running.push(builder.spawn(come_and_go, args).expect("a process"));
        std::thread::sleep(Duration::from_micros(random.below(1500)));
        if running.len() >= 4 {
            let victim = running.swap_remove(random.below(4) as usize);
            victim.kill().expect("SIGKILL");
            if random.below(2) == 0 {
                drop(victim.wait());
            }
        }
        let permit = semaphore.acquire_timeout(PATIENCE).expect("a permit");
        drop(sit(&seats));
        told += u64::from(permit.owner_died());
    }
    for process in running {
        process.kill().expect("SIGKILL");
        drop(process.wait());
    }
    // Dead processes that were not joined are found by the processes that wait for their permits.
    let permits = [(); 2].map(|()| {
        semaphore
            .acquire_timeout(PATIENCE)
            .expect("all permits come back")
    });
    assert_eq!(semaphore.value(), 0);
    drop(permits);
    assert_eq!(semaphore.value(), 2);
    assert_eq!(semaphore.release(), Err(Error::TooManyReleases { max: 2 }));
    assert!(told > 0, "no holder was ever killed: nothing was tested");
    eprintln!("{kills} kills, {told} permits of the dead came to this process");
}
