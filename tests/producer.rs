//! Queues that end with their last producer.

mod common;
#[allow(dead_code)]
#[path = "common/random.rs"]
mod random;

use common::{A_WHILE, METHODS, alone, until, watchdog};
use procession::{Error, JoinableQueue, Process, Producer, PutError, Queue, SimpleQueue, inspect};
use random::Random;
use std::thread;
use std::time::Duration;

#[procession::test]
fn a_queue_ends_when_the_last_is_dropped() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    let first = queue.producer().unwrap();
    let second = queue.producer().unwrap();
    let third = second.clone();
    first.put(1).unwrap();
    drop(first);
    second.put_many([2, 3]).unwrap();
    second.close();
    assert!(!queue.is_shut_down());
    third.try_put(4).unwrap();
    third.put_timeout(5, A_WHILE).unwrap();
    drop(third);
    assert!(queue.is_shut_down());
    assert!(queue.iter().eq(1..=5));
    assert_eq!(queue.get(), Err(Error::ShutDown));
    assert!(matches!(queue.put(6), Err(PutError::ShutDown(6))));
    assert_eq!(queue.producer().map(drop), Err(Error::ShutDown));
}

#[procession::test]
fn a_waiter_learns_of_the_end_at_once() {
    let _watchdog = watchdog();
    let queue = Queue::<u8>::unbounded().unwrap();
    let producer = queue.producer().unwrap();
    thread::scope(|scope| {
        let waiters = [(); 3].map(|()| scope.spawn(|| queue.get()));
        thread::sleep(A_WHILE);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        drop(producer);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(Error::ShutDown));
        }
    });
}

#[procession::test]
fn a_queue_that_never_had_one_goes_on() {
    let queue = Queue::unbounded().unwrap();
    queue.put(1).unwrap();
    drop(queue.clone());
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.try_get(), Err(Error::Empty));
}

#[procession::test]
fn plain_handles_put_and_do_not_count() {
    let queue = Queue::bounded(2).unwrap();
    let producer = queue.producer().unwrap();
    queue.put(1).unwrap();
    producer.put(2).unwrap();
    assert!(matches!(producer.try_put(3), Err(PutError::Full(3))));
    drop(producer);
    assert!(matches!(queue.put(3), Err(PutError::ShutDown(3))));
    assert!(queue.iter().eq([1, 2]));
}

#[procession::test]
fn a_queue_that_is_shut_down_otherwise_has_none() {
    let queue = Queue::unbounded().unwrap();
    let producer = queue.producer().unwrap();
    queue.shutdown();
    assert!(producer.is_shut_down());
    assert!(matches!(producer.put(1), Err(PutError::ShutDown(1))));
    assert_eq!(queue.producer().map(drop), Err(Error::ShutDown));
    drop(producer);
    let queue = Queue::<u8>::unbounded().unwrap();
    queue.shutdown();
    assert_eq!(queue.producer().map(drop), Err(Error::ShutDown));
}

#[procession::test]
fn every_queue_has_them() {
    let jobs = JoinableQueue::unbounded().unwrap();
    let producer = jobs.producer().unwrap();
    producer.put(1).unwrap();
    drop(producer);
    assert!(jobs.is_shut_down());
    assert_eq!(jobs.get(), Ok(1));
    jobs.task_done().unwrap();
    jobs.join().unwrap();
    let simple = SimpleQueue::new().unwrap();
    simple.producer().unwrap().put(1).unwrap();
    assert_eq!((simple.get(), simple.get()), (Ok(1), Err(Error::ShutDown)));
}

#[procession::test]
fn the_token_shows_which_queue_it_is_of() {
    alone("the_token_shows_which_queue_it_is_of", || {
        let queue = Queue::<u8>::unbounded().unwrap();
        let _producer = queue.producer().unwrap();
        let objects = inspect().unwrap().objects;
        let number = |kind| objects.iter().find(|it| it.kind == kind).unwrap();
        assert_eq!(number("producers").figures, [("queue", number("queue").number)]);
    });
}

/// Checks that a producer outlives the queue's other handles, and that threads may make and drop producers as they
/// like.
#[procession::test]
fn threads_come_and_go() {
    let _watchdog = watchdog();
    for _ in 0..200 {
        let queue = Queue::unbounded().unwrap();
        let first = queue.producer().unwrap();
        thread::scope(|scope| {
            for n in 0..3 {
                let (queue, mine) = (&queue, first.clone());
                scope.spawn(move || {
                    mine.put(n).unwrap();
                    drop(mine);
                    match queue.producer() {
                        Ok(another) => another.put(n).unwrap(),
                        Err(error) => assert_eq!(error, Error::ShutDown),
                    }
                });
            }
            drop(first);
        });
        assert!((3..=6).contains(&queue.iter().count()));
        assert!(queue.is_shut_down());
    }
}

// ---- processes ----

fn count(numbers: Producer<u32>, to: u32) {
    numbers.put_many(0..to).unwrap();
}

#[procession::test]
fn processes_have_them_as_arguments() {
    let _watchdog = watchdog();
    for method in METHODS {
        let numbers = Queue::bounded(3).unwrap();
        let producer = numbers.producer().unwrap();
        let child = |to| {
            Process::builder()
                .method(method)
                .spawn(count, (producer.clone(), to))
                .unwrap()
        };
        let _children = [3, 4].map(child);
        drop(producer);
        assert_eq!(numbers.iter().count(), 7);
    }
}

fn pass_on(numbers: Queue<u32>, producers: Queue<Producer<u32>>) {
    producers.put(numbers.producer().unwrap()).unwrap();
}

#[procession::test]
fn one_on_its_way_counts() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (numbers, producers) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let args = (numbers.clone(), producers.clone());
        Process::builder()
            .method(method)
            .spawn(pass_on, args)
            .unwrap()
            .join()
            .unwrap();
        assert!(!numbers.is_shut_down());
        producers.get().unwrap().put(1).unwrap();
        assert_eq!((numbers.get(), numbers.get()), (Ok(1), Err(Error::ShutDown)));
        // No process gets this producer from its queue.
        let numbers = Queue::unbounded().unwrap();
        let args = (numbers.clone(), producers.clone());
        Process::builder()
            .method(method)
            .spawn(pass_on, args)
            .unwrap()
            .join()
            .unwrap();
        drop(producers);
        assert_eq!(numbers.get(), Err(Error::ShutDown));
    }
}

fn panic_with(numbers: Producer<u32>) {
    numbers.put(1).unwrap();
    panic!("on purpose");
}

#[procession::test]
fn one_that_panics_is_gone() {
    let _watchdog = watchdog();
    for method in METHODS {
        let numbers = Queue::unbounded().unwrap();
        let args = numbers.producer().unwrap();
        let child = Process::builder().method(method).spawn(panic_with, args).unwrap();
        assert_eq!(numbers.iter().count(), 1);
        assert!(child.join().is_err());
    }
}

fn count_for_ever(numbers: Producer<u64>, messages: Producer<Vec<u8>>) {
    for n in 0.. {
        numbers.put(n).unwrap();
        messages.put(vec![n as u8; 10_000]).unwrap();
    }
}

/// Checks the end of a queue when no process joins the dead producer's process, and none asks for its state.
#[procession::test]
fn one_that_is_killed_is_gone() {
    let _watchdog = watchdog();
    let mut random = Random::new(7);
    for round in 0..12 {
        let (numbers, messages) = (Queue::bounded(5).unwrap(), Queue::bounded(5).unwrap());
        let mine = numbers.producer().unwrap();
        let args = (mine.clone(), messages.producer().unwrap());
        let child = Process::builder()
            .method(METHODS[round % 3])
            .spawn(count_for_ever, args)
            .unwrap();
        until(|| !messages.is_empty());
        let taken = random.below(20) as usize;
        assert!(numbers.iter().take(taken.min(5)).eq(0..taken.min(5) as u64));
        thread::sleep(Duration::from_micros(random.below(2_000)));
        child.kill().unwrap();
        // The messages in the queue are whole, and after them comes the end.
        let mut next = 0;
        while let Ok(message) = messages.get() {
            assert!(message == vec![next as u8; 10_000]);
            next += 1;
        }
        assert_eq!(messages.get(), Err(Error::ShutDown));
        // This queue has another producer.
        assert!(!numbers.is_shut_down());
        while numbers.try_get().is_ok() {}
        mine.put(1_000).unwrap();
        drop(mine);
        assert_eq!(numbers.iter().last(), Some(1_000));
    }
}
