//! Waiting for several things at once.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{A_WHILE, not_before, watchdog};
use procession::{Event, Key, Process, Queue, Selector, StartMethod, pipe, wait};
use random::{Random, long};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(20);

#[procession::test]
fn each_kind_of_thing_is_ready_when_it_is() {
    let _watchdog = watchdog();
    let (queue, event) = (Queue::<u8>::unbounded().unwrap(), Event::new().unwrap());
    let (here, there) = pipe::<u8, u8>().unwrap();
    let (mut left, right) = UnixStream::pair().unwrap();
    let hold = Queue::<u8>::unbounded().unwrap();
    let process = Process::spawn(|hold: Queue<u8>| hold.get().is_err(), hold.clone()).unwrap();

    let mut selector = Selector::new().unwrap();
    let keys: Vec<Key> = vec![
        selector.add(&queue).unwrap(),
        selector.add(&event).unwrap(),
        selector.add(&here).unwrap(),
        selector.add(&right).unwrap(),
        selector.add(&process).unwrap(),
    ];
    let once = || wait(&[&queue, &event, &here, &right, &process], Some(SHORT)).unwrap();
    assert_eq!(not_before(SHORT, || selector.wait_timeout(SHORT).unwrap()), []);
    assert_eq!(once(), []);

    let mut check = |which: usize| {
        assert_eq!(selector.wait().unwrap(), [keys[which]]);
        assert_eq!(once(), [which]);
        // Still ready, because no message was taken.
        assert_eq!(selector.try_wait().unwrap(), [keys[which]]);
    };
    queue.put(1).unwrap();
    check(0);
    queue.get().unwrap();
    event.set();
    check(1);
    event.clear();
    there.send(2).unwrap();
    check(2);
    here.recv().unwrap();
    left.write_all(b"x").unwrap();
    check(3);
    std::io::Read::read_exact(&mut &right, &mut [0]).unwrap();
    hold.shutdown();
    check(4);
    assert!(process.join().unwrap());
}

#[procession::test]
fn ends_are_ready_too() {
    let _watchdog = watchdog();
    let queue = Queue::<u8>::unbounded().unwrap();
    let (here, there) = pipe::<u8, u8>().unwrap();
    let (left, right) = UnixStream::pair().unwrap();
    let (queued, ended) = (
        queue.clone(),
        thread::spawn(move || {
            thread::sleep(A_WHILE);
            queue.shutdown();
            drop((there, left));
        }),
    );
    let mut selector = Selector::new().unwrap();
    let mut open = vec![
        selector.add(&queued).unwrap(),
        selector.add(&here).unwrap(),
        selector.add(&right).unwrap(),
    ];
    while !open.is_empty() {
        for key in selector.wait().unwrap() {
            assert!(selector.remove(key) && !selector.remove(key));
            open.retain(|&other| other != key);
        }
    }
    assert!(selector.is_empty() && selector.wait().unwrap().is_empty());
    ended.join().unwrap();
}

/// Checks that a sleeping selector is woken by each kind of source, again and again.
#[procession::test]
fn a_mixture_wakes_for_both_sorts() {
    let _watchdog = watchdog();
    let queue = Queue::<u8>::unbounded().unwrap();
    let (mut left, right) = UnixStream::pair().unwrap();
    let mut selector = Selector::new().unwrap();
    let (message, byte) = (selector.add(&queue).unwrap(), selector.add(&right).unwrap());
    let producer = queue.clone();
    let writer = thread::spawn(move || {
        for n in 0..200 {
            if n % 2 == 0 {
                producer.put(n).unwrap();
            } else {
                left.write_all(&[n]).unwrap();
            }
            thread::sleep(Duration::from_micros(300));
        }
        left
    });
    let mut got = 0;
    while got < 200 {
        for key in selector.wait().unwrap() {
            if key == message {
                got += usize::from(queue.try_get().is_ok());
            } else {
                assert_eq!(key, byte);
                std::io::Read::read_exact(&mut &right, &mut [0]).unwrap();
                got += 1;
            }
        }
    }
    drop(writer.join().unwrap());
}

#[procession::test]
fn all_have_their_turn() {
    let _watchdog = watchdog();
    let queues: Vec<Queue<u8>> = (0..5).map(|_| Queue::unbounded().unwrap()).collect();
    let mut selector = Selector::new().unwrap();
    let keys: Vec<Key> = queues.iter().map(|queue| selector.add(queue).unwrap()).collect();
    queues.iter().for_each(|queue| queue.put(1).unwrap());
    let mut firsts: Vec<Key> = (0..5).map(|_| selector.wait().unwrap()[0]).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, keys);
}

/// Checks a selector with more queues than the bell has bits.
#[procession::test]
fn thousands_of_queues() {
    let _watchdog = watchdog();
    let queues: Vec<Queue<u32>> = (0..5000).map(|_| Queue::unbounded().unwrap()).collect();
    let mut selector = Selector::new().unwrap();
    let keys: Vec<Key> = queues.iter().map(|queue| selector.add(queue).unwrap()).collect();
    assert_eq!(selector.try_wait().unwrap(), []);
    let mut random = Random::new(1);
    for _ in 0..500 {
        let one = random.below(5000) as usize;
        queues[one].put(1).unwrap();
        assert_eq!(selector.wait().unwrap(), [keys[one]]);
        queues[one].try_get().unwrap();
    }
}

fn scatter(queues: Vec<Queue<u64>>, seed: u64, count: u64) {
    let mut random = Random::new(seed);
    for _ in 0..count {
        queues[random.below(queues.len() as u64) as usize]
            .put(seed)
            .unwrap();
        if random.below(50) == 0 {
            thread::sleep(Duration::from_micros(random.below(300)));
        }
    }
}

/// Gets `count` messages, each reported by a selector; no wait may end without a result.
fn collect(queues: &[Queue<u64>], selector: &mut Selector, mut count: u64) {
    while count > 0 {
        let ready = selector.wait().unwrap();
        assert!(!ready.is_empty(), "a wait ended with nothing");
        for queue in queues {
            while queue.try_get().is_ok() {
                count -= 1;
            }
        }
    }
}

#[procession::test]
fn nothing_is_missed() {
    let _watchdog = watchdog();
    let queues: Vec<Queue<u64>> = (0..40).map(|_| Queue::unbounded().unwrap()).collect();
    let mut selector = Selector::new().unwrap();
    for queue in &queues {
        selector.add(queue).unwrap();
    }
    let count = long(20_000);
    let scatterers: Vec<_> = (1..=3)
        .map(|seed| Process::spawn(scatter, (queues.clone(), seed, count)).unwrap())
        .collect();
    collect(&queues, &mut selector, 3 * count);
    for scatterer in scatterers {
        scatterer.join().unwrap();
    }
    assert_eq!(selector.try_wait().unwrap(), []);
}

#[procession::test]
fn two_selectors_at_one_queue_and_a_sleeper_beside() {
    let _watchdog = watchdog();
    let queue = Queue::<u64>::unbounded().unwrap();
    let takers: Vec<_> = (0..3)
        .map(|n| {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut selector = Selector::new().unwrap();
                selector.add(&queue).unwrap();
                let mut taken = 0;
                loop {
                    if n > 0 {
                        selector.wait().unwrap();
                    }
                    match if n > 0 { queue.try_get() } else { queue.get() } {
                        Ok(_) => taken += 1,
                        Err(procession::Error::ShutDown) => return taken,
                        Err(_) => {}
                    }
                }
            })
        })
        .collect();
    scatter(vec![queue.clone()], 7, 5000);
    queue.shutdown();
    let taken: u64 = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
    assert_eq!(taken, 5000);
}

/// Checks that the copy in a forked child is an independent selector, although the helper thread of the parent's is not
/// in the child.
#[procession::test]
fn a_forked_child_has_its_own() {
    let _watchdog = watchdog();
    let (queue, back) = (
        Queue::<u8>::unbounded().unwrap(),
        Queue::<u8>::unbounded().unwrap(),
    );
    let (mut left, right) = UnixStream::pair().unwrap();
    let mut selector = Selector::new().unwrap();
    let (message, byte) = (selector.add(&queue).unwrap(), selector.add(&right).unwrap());
    assert_eq!(selector.wait_timeout(SHORT).unwrap(), []);
    let (theirs, answers) = (queue.clone(), back.clone());
    let child = {
        let mut selector = selector;
        let child = Process::fork(|| {
            assert_eq!(selector.wait().unwrap(), [message]);
            theirs.get().unwrap();
            answers.put(1).unwrap();
            assert_eq!(selector.wait().unwrap(), [byte]);
            true
        })
        .unwrap();
        thread::sleep(A_WHILE);
        queue.put(1).unwrap();
        back.get().unwrap();
        left.write_all(b"x").unwrap();
        assert!(child.join().unwrap());
        selector
    };
    let mut selector = child;
    assert_eq!(selector.wait().unwrap(), [byte]);
    queue.put(2).unwrap();
    let both = selector.wait().unwrap();
    assert!(both.contains(&message) && both.contains(&byte));
}

fn select_for_ever(queues: Vec<Queue<u64>>) {
    let mut selector = Selector::new().unwrap();
    for queue in &queues {
        selector.add(queue).unwrap();
    }
    loop {
        selector.wait_timeout(Duration::from_micros(200)).unwrap();
        let key = selector.add(&queues[0]).unwrap();
        selector.remove(key);
    }
}

/// Kills waiting and notifying processes. Every message in a queue is found within a second.
#[procession::test]
fn killed_watchers_and_notifiers() {
    let _watchdog = watchdog();
    let queues: Vec<Queue<u64>> = (0..10).map(|_| Queue::unbounded().unwrap()).collect();
    let mut selector = Selector::new().unwrap();
    for queue in &queues {
        selector.add(queue).unwrap();
    }
    let mut random = Random::new(3);
    let fork = || Process::builder().method(StartMethod::Fork);
    for _ in 0..long(200) {
        let watcher = fork().spawn(select_for_ever, queues.clone()).unwrap();
        let producer = fork().spawn(scatter, (queues.clone(), 5, u64::MAX)).unwrap();
        let ends = std::time::Instant::now() + Duration::from_micros(random.below(6000));
        while std::time::Instant::now() < ends {
            selector.wait_timeout(Duration::from_micros(500)).unwrap();
            queues.iter().for_each(|queue| while queue.try_get().is_ok() {});
        }
        watcher.kill().unwrap();
        producer.kill().unwrap();
        drop((watcher.join(), producer.join()));
        while queues.iter().any(|queue| !queue.is_empty()) {
            assert!(!selector.wait().unwrap().is_empty());
            queues.iter().for_each(|queue| while queue.try_get().is_ok() {});
        }
    }
    assert_eq!(selector.try_wait().unwrap(), []);
}
