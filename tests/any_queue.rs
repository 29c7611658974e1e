//! One suite for all kinds of queues, through the trait that they share.

mod common;

use common::{A_WHILE, not_before, until, watchdog};
use procession::{
    AnyJoinableQueue, AnyQueue, Deadline, Error, JoinableQueue, Process, PutError, Queue, thread,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Makes a queue of the kind under test; `None` for one without a bound.
type Make = fn(Option<usize>) -> Arc<dyn AnyJoinableQueue<u64>>;

macro_rules! maker {
    ($name:ident, $queue:ty $(, $question:tt)?) => {
        fn $name(capacity: Option<usize>) -> Arc<dyn AnyJoinableQueue<u64>> {
            match capacity {
                Some(capacity) => Arc::new(<$queue>::bounded(capacity).unwrap()),
                None => Arc::new(<$queue>::unbounded()$(.$question())?),
            }
        }
    };
}
maker!(joinable, JoinableQueue<u64>, unwrap);
maker!(fifo, thread::Queue<u64>);
maker!(lifo, thread::LifoQueue<u64>);
maker!(priority, thread::PriorityQueue<u64>);

/// The kinds, and the order in which each gives 2, 3, 1.
const KINDS: [(Make, [u64; 3]); 4] = [
    (joinable, [2, 3, 1]),
    (fifo, [2, 3, 1]),
    (lifo, [1, 3, 2]),
    (priority, [1, 2, 3]),
];

#[test]
fn each_has_its_order() {
    let _watchdog = watchdog();
    for (make, order) in KINDS {
        let queue = make(None);
        assert_eq!(queue.put_many(vec![2, 3, 1]).unwrap(), 3);
        assert_eq!((queue.len(), queue.is_empty()), (3, false));
        assert_eq!(queue.get_many(2).unwrap(), order[..2]);
        assert_eq!(queue.get_many(5).unwrap(), order[2..]);
        assert_eq!(queue.get_many(0).unwrap(), []);
        assert!(queue.is_empty());
    }
    // The process queue that does not count tasks uses the same code.
    let plain: Box<dyn AnyQueue<u64>> = Box::new(Queue::unbounded().unwrap());
    plain.put_many(vec![2, 3, 1]).unwrap();
    plain.shutdown();
    assert_eq!(plain.iter().collect::<Vec<_>>(), [2, 3, 1]);
}

#[test]
fn bounds_and_deadlines() {
    let _watchdog = watchdog();
    let timeout = Duration::from_millis(20);
    for (make, _) in KINDS {
        let queue = make(Some(2));
        assert_eq!((queue.capacity(), queue.is_full()), (Some(2), false));
        assert_eq!(queue.try_get(), Err(Error::Empty));
        assert_eq!(
            not_before(timeout, || queue.get_timeout(timeout)),
            Err(Error::Timeout)
        );
        queue.put(1).unwrap();
        queue.try_put(2).unwrap();
        assert!(queue.is_full());
        assert!(matches!(queue.try_put(3), Err(PutError::Full(3))));
        let late = not_before(timeout, || queue.put_timeout(3, timeout));
        assert!(matches!(late, Err(PutError::Timeout(3))));
        assert!(matches!(
            queue.put_until(3, Deadline::after(Duration::ZERO)),
            Err(PutError::Timeout(3))
        ));
        assert_eq!(queue.iter().take(2).sum::<u64>(), 3);
        assert_eq!(make(None).capacity(), None);
        assert!(!make(None).is_full());
    }
}

#[test]
fn a_full_queue_lets_a_producer_in_when_there_is_room() {
    let _watchdog = watchdog();
    for (make, _) in KINDS {
        let queue = make(Some(1));
        queue.put(1).unwrap();
        let producer = thread::Thread::spawn({
            let queue = queue.clone();
            move || queue.put_timeout(2, Duration::from_secs(600)).is_ok()
        })
        .unwrap();
        std::thread::sleep(A_WHILE);
        assert_eq!(queue.get(), Ok(1));
        assert_eq!(queue.get_timeout(Duration::from_secs(600)), Ok(2));
        assert!(producer.join().unwrap());
    }
}

#[test]
fn shutting_down() {
    let _watchdog = watchdog();
    for (make, _) in KINDS {
        let queue = make(Some(2));
        let producer = {
            let queue = queue.clone();
            thread::Thread::spawn(move || queue.put_many(vec![7; 5])).unwrap()
        };
        until(|| queue.is_full());
        assert!(!queue.is_shut_down());
        queue.shutdown();
        assert!(queue.is_shut_down());
        match producer.join().unwrap() {
            Err(PutError::ShutDown(rest)) => assert_eq!(rest, [7; 3]),
            other => panic!("{other:?}"),
        }
        assert!(matches!(queue.put(8), Err(PutError::ShutDown(8))));
        assert_eq!(queue.iter().collect::<Vec<_>>(), [7, 7]);
        assert_eq!(queue.get(), Err(Error::ShutDown));
        assert_eq!(queue.try_get(), Err(Error::ShutDown));

        // A thread that waits on an empty queue gets the error.
        let empty = make(None);
        let consumer = thread::Thread::spawn({
            let empty = empty.clone();
            move || empty.get()
        })
        .unwrap();
        std::thread::sleep(A_WHILE);
        empty.shutdown();
        assert_eq!(consumer.join().unwrap(), Err(Error::ShutDown));
    }
}

#[test]
fn shutting_down_at_once_drops_what_is_there() {
    let _watchdog = watchdog();
    for (make, _) in KINDS {
        let queue = make(None);
        queue.put_many(vec![1, 2, 3]).unwrap();
        queue.get().unwrap();
        queue.shutdown_now();
        assert_eq!((queue.len(), queue.unfinished()), (0, 1));
        assert_eq!(queue.get(), Err(Error::ShutDown));
        queue.task_done().unwrap();
        queue.join().unwrap();
    }
}

#[test]
fn work_is_counted() {
    let _watchdog = watchdog();
    let timeout = Duration::from_millis(20);
    for (make, _) in KINDS {
        let queue = make(None);
        queue.join().unwrap();
        assert_eq!(queue.task_done(), Err(Error::TooManyTasksDone));
        queue.put_many(vec![1, 2]).unwrap();
        assert_eq!(
            not_before(timeout, || queue.join_timeout(timeout)),
            Err(Error::Timeout)
        );
        let joiner = thread::Thread::spawn({
            let queue = queue.clone();
            move || queue.join()
        })
        .unwrap();
        for left in [1, 0] {
            queue.get().unwrap();
            assert_eq!(queue.unfinished(), left + 1);
            assert!(joiner.is_alive());
            queue.task_done().unwrap();
        }
        joiner.join().unwrap().unwrap();
        assert_eq!(queue.task_done(), Err(Error::TooManyTasksDone));
    }
}

#[test]
fn nothing_is_lost_or_doubled_between_threads() {
    const EACH: u64 = 2_000;
    let _watchdog = watchdog();
    for (make, _) in KINDS {
        for capacity in [None, Some(1), Some(7)] {
            let queue = make(capacity);
            let seen: Arc<Vec<AtomicUsize>> = Arc::new((0..3 * EACH).map(|_| AtomicUsize::new(0)).collect());
            let consumers: Vec<_> = (0..3)
                .map(|_| {
                    let (queue, seen) = (queue.clone(), seen.clone());
                    thread::Thread::spawn(move || {
                        for n in queue.iter() {
                            seen[n as usize].fetch_add(1, Ordering::Relaxed);
                            queue.task_done().unwrap();
                        }
                    })
                    .unwrap()
                })
                .collect();
            let producers: Vec<_> = (0..3)
                .map(|who| {
                    let queue = queue.clone();
                    thread::Thread::spawn(move || {
                        for n in 0..EACH {
                            queue.put(who * EACH + n).unwrap();
                        }
                    })
                    .unwrap()
                })
                .collect();
            for producer in producers {
                producer.join().unwrap();
            }
            queue.join().unwrap();
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            queue.shutdown();
            for consumer in consumers {
                consumer.join().unwrap();
            }
        }
    }
}

fn double(numbers: &dyn AnyQueue<u64>, doubles: &dyn AnyQueue<u64>) {
    for n in numbers.iter() {
        doubles.put(2 * n).unwrap();
    }
}

fn double_in_a_process(numbers: Queue<u64>, doubles: JoinableQueue<u64>) {
    double(&numbers, &doubles);
}

#[procession::test]
fn the_same_function_in_a_process() {
    let _watchdog = watchdog();
    let (numbers, doubles) = (Queue::bounded(4).unwrap(), JoinableQueue::unbounded().unwrap());
    let process = Process::spawn(double_in_a_process, (numbers.clone(), doubles.clone())).unwrap();
    AnyQueue::put_many(&numbers, (1..=100).collect()).unwrap();
    numbers.shutdown();
    process.join().unwrap();
    assert_eq!(
        AnyQueue::get_many(&doubles, 200).unwrap().iter().sum::<u64>(),
        10_100
    );
}
