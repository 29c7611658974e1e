//! Queues: order, bounds, deadlines, shutdown, the values that travel through them, and the memory that they use.

// A reservation that was refused is given back by value: boxing it would cost an allocation.
#![allow(clippy::result_large_err)]

mod common;

use common::{A_WHILE, METHODS, alone, not_before, pattern, until, watchdog, watchdog_of};
use procession::{
    ByteQueue, Error, ExitStatus, JoinableQueue, Lock, Process, ProcessError, PutError, Queue, SimpleQueue,
    StartMethod, resident_bytes,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

// ---- order, bounds, deadlines ----

#[test]
fn first_in_first_out() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    // Enough for many segments, taken while more are put.
    for n in 0..50_000u32 {
        queue.put(n).unwrap();
        if n % 3 == 2 {
            assert_eq!(queue.get().unwrap(), n / 3);
        }
    }
    let taken = 50_000 / 3;
    assert_eq!(queue.len(), 50_000 - taken as usize);
    for n in taken..50_000 {
        assert_eq!(queue.get().unwrap(), n);
    }
    assert!(queue.is_empty());
}

#[test]
fn a_bounded_queue_keeps_its_bound() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(3).unwrap();
    assert_eq!(queue.capacity(), Some(3));
    for n in 0..10 {
        for i in 0..3 {
            assert!(!queue.is_full());
            queue.try_put(n + i).unwrap();
        }
        assert!(queue.is_full());
        assert_eq!(queue.len(), 3);
        assert!(matches!(queue.try_put(99), Err(PutError::Full(99))));
        let late = not_before(Duration::from_millis(20), || {
            queue.put_timeout(98, Duration::from_millis(20))
        });
        assert!(matches!(late, Err(PutError::Timeout(98))));
        for i in 0..3 {
            assert_eq!(queue.try_get().unwrap(), n + i);
        }
        assert_eq!(queue.try_get(), Err(Error::Empty));
    }
    let unbounded = Queue::<u8>::unbounded().unwrap();
    assert_eq!((unbounded.capacity(), unbounded.is_full()), (None, false));
}

#[test]
fn a_capacity_of_nothing_is_refused() {
    assert!(matches!(
        Queue::<u8>::bounded(0),
        Err(Error::Capacity { given: 0, .. })
    ));
    assert!(matches!(
        JoinableQueue::<u8>::bounded(0),
        Err(Error::Capacity { given: 0, .. })
    ));
    assert!(matches!(
        ByteQueue::bounded(0),
        Err(Error::Capacity { given: 0, .. })
    ));
    assert!(matches!(
        Queue::<u8>::bounded(usize::MAX),
        Err(Error::Capacity { .. })
    ));
    let message = Queue::<u8>::bounded(0).unwrap_err().to_string();
    assert!(message.contains("from 1 to"), "{message}");
}

#[test]
fn a_deadline_in_the_past_still_takes_what_is_there() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(1).unwrap();
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(Error::Timeout));
    queue.put_timeout(1, Duration::ZERO).unwrap();
    assert!(matches!(
        queue.put_timeout(2, Duration::ZERO),
        Err(PutError::Timeout(2))
    ));
    assert_eq!(queue.get_timeout(Duration::ZERO), Ok(1));

    let bytes = ByteQueue::bounded(1).unwrap();
    assert_eq!(bytes.get_timeout(Duration::ZERO).unwrap_err(), Error::Timeout);
    bytes.put_timeout(b"a", Duration::ZERO).unwrap();
    assert_eq!(bytes.put_timeout(b"b", Duration::ZERO), Err(Error::Timeout));
    assert_eq!(bytes.try_put(b"b"), Err(Error::Full));

    let jobs = JoinableQueue::unbounded().unwrap();
    jobs.join_timeout(Duration::ZERO).unwrap();
    jobs.put(1).unwrap();
    assert_eq!(jobs.join_timeout(Duration::ZERO), Err(Error::Timeout));
}

#[test]
fn a_deadline_does_not_come_early() {
    let _watchdog = watchdog();
    let queue = Queue::<u8>::bounded(1).unwrap();
    for timeout in [1, 30, 120].map(Duration::from_millis) {
        assert_eq!(
            not_before(timeout, || queue.get_timeout(timeout)),
            Err(Error::Timeout)
        );
    }
    queue.put(1).unwrap();
    for timeout in [1, 30, 120].map(Duration::from_millis) {
        assert!(not_before(timeout, || queue.put_timeout(2, timeout)).is_err());
    }
    // Longer than any clock can represent.
    assert_eq!(queue.get_timeout(Duration::MAX), Ok(1));
    queue.put_timeout(3, Duration::MAX).unwrap();
}

#[test]
fn what_others_take_does_not_end_a_wait_early() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(4).unwrap();
    let timeout = Duration::from_millis(150);
    thread::scope(|scope| {
        let patient = scope.spawn(|| {
            let mut mine = 0u32;
            while not_or_after(timeout, &queue).is_some() {
                mine += 1;
            }
            mine
        });
        let greedy = scope.spawn(|| queue.iter().count() as u32);
        for n in 0..2_000u32 {
            queue.put(n).unwrap();
        }
        let mine = patient.join().unwrap();
        queue.shutdown();
        assert_eq!(mine + greedy.join().unwrap(), 2_000);
    });
}

/// Gets a message, or checks that nothing comes before all of `timeout` has passed.
fn not_or_after(timeout: Duration, queue: &Queue<u32>) -> Option<u32> {
    let start = std::time::Instant::now();
    let answer = queue.get_timeout(timeout);
    match answer {
        Ok(n) => Some(n),
        Err(error) => {
            assert_eq!(error, Error::Timeout);
            assert!(start.elapsed() >= timeout);
            None
        }
    }
}

// ---- many producers and consumers ----

/// A message that shows its producer, and whether it is whole.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Parcel {
    from: u32,
    number: u32,
    content: Vec<u8>,
}

impl Parcel {
    fn new(from: u32, number: u32) -> Self {
        // Some messages are not stored in the ring itself.
        let len = if number % 97 == 96 {
            20_000
        } else {
            number as usize % 60
        };
        Self {
            from,
            number,
            content: pattern(u64::from(from) << 32 | u64::from(number), len),
        }
    }
}

fn send_parcels(queue: Queue<Parcel>, from: u32, count: u32) {
    for number in 0..count {
        queue.put(Parcel::new(from, number)).unwrap();
    }
}

fn send_parcels_at_once(queue: Queue<Parcel>, from: u32, count: u32) {
    let parcels = (0..count).map(|number| Parcel::new(from, number));
    assert_eq!(queue.put_many(parcels).unwrap(), count as usize);
}

/// The messages that one consumer got, in its order.
fn receive_parcels(queue: Queue<Parcel>) -> Vec<(u32, u32)> {
    queue.iter().map(checked).collect()
}

fn receive_parcels_at_once(queue: Queue<Parcel>) -> Vec<(u32, u32)> {
    let mut seen = Vec::new();
    loop {
        match queue.get_many(50) {
            Ok(parcels) => {
                assert!((1..=50).contains(&parcels.len()));
                seen.extend(parcels.into_iter().map(checked));
            }
            Err(Error::ShutDown) => return seen,
            Err(error) => panic!("{error}"),
        }
    }
}

fn checked(parcel: Parcel) -> (u32, u32) {
    assert_eq!(parcel, Parcel::new(parcel.from, parcel.number));
    (parcel.from, parcel.number)
}

/// Checks that every parcel arrived once, and that every consumer got each producer's parcels in order.
fn all_arrived(consumers: &[Vec<(u32, u32)>], producers: u32, count: u32) {
    for seen in consumers {
        for from in 0..producers {
            let numbers: Vec<_> = seen.iter().filter(|s| s.0 == from).map(|s| s.1).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "out of order: {numbers:?}");
        }
    }
    let mut all: Vec<_> = consumers.concat();
    all.sort_unstable();
    let sent = (0..producers).flat_map(|from| (0..count).map(move |number| (from, number)));
    assert!(all.into_iter().eq(sent), "something is missing or doubled");
}

fn queues<T>() -> [Queue<T>; 3] {
    [
        Queue::bounded(1).unwrap(),
        Queue::bounded(10).unwrap(),
        Queue::unbounded().unwrap(),
    ]
}

#[test]
fn many_threads_at_both_ends() {
    let _watchdog = watchdog();
    const PRODUCERS: u32 = 4;
    const COUNT: u32 = 3_000;
    for queue in queues() {
        let queue = &queue;
        let seen: Vec<_> = thread::scope(|scope| {
            let consumers = [
                receive_parcels,
                receive_parcels_at_once,
                receive_parcels,
                receive_parcels_at_once,
            ]
            .map(|receive| scope.spawn(move || receive(queue.clone())));
            thread::scope(|scope| {
                for from in 0..PRODUCERS {
                    let send = [send_parcels, send_parcels_at_once][from as usize % 2];
                    scope.spawn(move || send(queue.clone(), from, COUNT));
                }
            });
            queue.shutdown();
            consumers.map(|consumer| consumer.join().unwrap()).into()
        });
        all_arrived(&seen, PRODUCERS, COUNT);
    }
}

#[procession::test]
fn many_processes_at_both_ends() {
    let _watchdog = watchdog();
    const PRODUCERS: u32 = 3;
    const COUNT: u32 = 1_500;
    for method in METHODS {
        for queue in queues() {
            let start = || Process::builder().method(method);
            let consumers: Vec<_> = (0..3)
                .map(|n| match n % 2 {
                    0 => start().spawn(receive_parcels, queue.clone()),
                    _ => start().spawn(receive_parcels_at_once, queue.clone()),
                })
                .collect::<Result<_, _>>()
                .unwrap();
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|from| match from % 2 {
                    0 => start().spawn(send_parcels, (queue.clone(), from, COUNT)),
                    _ => start().spawn(send_parcels_at_once, (queue.clone(), from, COUNT)),
                })
                .collect::<Result<_, _>>()
                .unwrap();
            for producer in producers {
                producer.join().unwrap();
            }
            queue.shutdown();
            let seen: Vec<_> = consumers.into_iter().map(|c| c.join().unwrap()).collect();
            all_arrived(&seen, PRODUCERS, COUNT);
        }
    }
}

#[test]
fn a_queue_of_one_between_many_threads_loses_no_wake_up() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(1).unwrap();
    let sum = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in queue.iter() {
                    sum.fetch_add(n, Ordering::Relaxed);
                }
            });
        }
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (1..=5_000).for_each(|n| queue.put(n).unwrap()));
            }
        });
        queue.shutdown();
    });
    assert_eq!(sum.load(Ordering::Relaxed), 4 * 5_000 * 5_001 / 2);
}

// ---- many at once, and any size ----

#[test]
fn many_at_once_of_any_size() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    // Small ones, large ones, and both next to each other, for more than one batch.
    let value = |n: usize| pattern(n as u64, if n.is_multiple_of(7) { 9_000 + n } else { n % 100 });
    assert_eq!(queue.put_many((0..1_000).map(value)).unwrap(), 1_000);
    assert_eq!(queue.put_many([]).unwrap(), 0);
    assert_eq!(queue.len(), 1_000);
    assert_eq!(queue.get_many(0).unwrap(), Vec::<Vec<u8>>::new());
    let mut n = 0;
    while !queue.is_empty() {
        let most = 1 + n % 300;
        let values = queue.get_many(most).unwrap();
        assert!(values.len() <= most);
        for got in values {
            assert!(got == value(n), "message {n}");
            n += 1;
        }
    }
    assert_eq!(n, 1_000);
}

#[test]
fn many_at_once_wait_for_room() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(5).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(|| queue.put_many(0..1_000));
        let mut next = 0;
        while next < 1_000 {
            assert!(queue.len() <= 5);
            for got in queue.get_many(3).unwrap() {
                assert_eq!(got, next);
                next += 1;
            }
        }
        assert_eq!(producer.join().unwrap().unwrap(), 1_000);
    });
}

#[test]
fn many_at_once_give_back_what_was_not_put() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(300).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(|| queue.put_many(0..1_000));
        until(|| queue.is_full());
        thread::sleep(A_WHILE);
        queue.shutdown();
        match producer.join().unwrap() {
            Err(PutError::ShutDown(rest)) => assert!(rest.into_iter().eq(300..1_000)),
            other => panic!("{other:?}"),
        }
    });
    assert!(queue.iter().eq(0..300));
}

#[test]
fn the_length_is_never_nonsense() {
    let _watchdog = watchdog();
    const COUNT: usize = 200_000;
    let queue = Queue::bounded(5).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..COUNT {
                // This fails if the consumer has failed.
                let _ = queue.put(n);
            }
            queue.shutdown();
        });
        let onlooker = scope.spawn(|| {
            // Other threads go on between its two loads, but the length must be one that was possible.
            while !queue.is_shut_down() {
                let len = queue.len();
                assert!(len <= COUNT, "{len} messages");
                thread::yield_now();
            }
        });
        let mut nonsense = None;
        while queue.get().is_ok() {
            // No other thread gets messages, so the length is never larger than the capacity.
            let len = queue.len();
            if len > 5 {
                nonsense = Some(len);
            }
        }
        assert_eq!(nonsense, None);
        onlooker.join().unwrap();
    });
}

const SIZES: [usize; 17] = [
    0,
    1,
    7,
    8,
    9,
    8_189,
    8_190,
    8_191,
    8_192,
    8_193,
    65_472,
    65_473,
    65_535,
    65_536,
    65_537,
    1 << 20,
    (1 << 20) + 1,
];

#[test]
fn messages_of_any_size_are_whole() {
    let _watchdog = watchdog_of(120);
    let (values, bytes) = (Queue::unbounded().unwrap(), ByteQueue::unbounded().unwrap());
    for round in 0..3 {
        for len in SIZES {
            values.put(pattern(round, len)).unwrap();
            bytes.put(&pattern(round, len)).unwrap();
        }
        for len in SIZES {
            assert!(values.get().unwrap() == pattern(round, len), "{len} bytes");
            assert!(bytes.get().unwrap()[..] == pattern(round, len), "{len} bytes");
        }
    }
    // Several messages of each size in a row, so that records end at every position of a segment.
    for len in (0..200).chain(8_100..8_200) {
        for n in 0..20 {
            bytes.put(&pattern(n, len)).unwrap();
        }
        for n in 0..20 {
            assert!(
                bytes.get().unwrap()[..] == pattern(n, len),
                "{len} bytes, message {n}"
            );
        }
    }
}

#[test]
fn a_message_of_a_hundred_mebibytes_is_whole() {
    let _watchdog = watchdog();
    const LEN: usize = 100 << 20;
    let (texts, bytes) = (Queue::unbounded().unwrap(), ByteQueue::unbounded().unwrap());
    let text: String = pattern(5, LEN)
        .into_iter()
        .map(|b| char::from(b'a' + b % 26))
        .collect();
    texts.put(text.clone()).unwrap();
    assert!(texts.get().unwrap() == text);
    bytes.put(text.as_bytes()).unwrap();
    assert!(bytes.get().unwrap()[..] == *text.as_bytes());
}

fn echo(requests: Queue<Vec<u8>>, answers: Queue<Vec<u8>>) {
    for request in requests.iter() {
        answers.put(request).unwrap();
    }
}

#[procession::test]
fn messages_of_any_size_cross_processes_whole() {
    let _watchdog = watchdog_of(120);
    for method in METHODS {
        let (requests, answers) = (Queue::bounded(2).unwrap(), Queue::bounded(2).unwrap());
        let process = Process::builder()
            .method(method)
            .spawn(echo, (requests.clone(), answers.clone()))
            .unwrap();
        for len in SIZES {
            requests.put(pattern(9, len)).unwrap();
            assert!(answers.get().unwrap() == pattern(9, len), "{len} bytes");
        }
        requests.shutdown();
        process.join().unwrap();
    }
}

// ---- shutdown ----

fn wait_for_one(queue: Queue<u32>, ready: Queue<()>) -> Result<u32, Error> {
    ready.put(())?;
    queue.get()
}

fn put_two(queue: Queue<u32>, ready: Queue<()>) -> Result<(), Error> {
    queue.put(1)?;
    ready.put(())?;
    Ok(queue.put(2)?)
}

#[procession::test]
fn shutdown_ends_the_wait_of_consumers() {
    let _watchdog = watchdog();
    let (queue, ready) = (Queue::bounded(1).unwrap(), Queue::unbounded().unwrap());
    let processes = METHODS.map(|method| {
        Process::builder()
            .method(method)
            .spawn(wait_for_one, (queue.clone(), ready.clone()))
            .unwrap()
    });
    thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| wait_for_one(queue.clone(), ready.clone())));
        for _ in 0..6 {
            ready.get().unwrap();
        }
        thread::sleep(A_WHILE);
        queue.shutdown();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(Error::ShutDown));
        }
    });
    for process in processes {
        assert_eq!(process.join().unwrap(), Err(Error::ShutDown));
    }
    assert!(queue.is_shut_down());
    assert_eq!(queue.try_get(), Err(Error::ShutDown));
    assert_eq!(queue.get_timeout(Duration::from_secs(1)), Err(Error::ShutDown));
    assert_eq!(queue.get_many(5), Err(Error::ShutDown));
}

#[procession::test]
fn shutdown_ends_the_wait_of_producers() {
    let _watchdog = watchdog();
    let ready = Queue::unbounded().unwrap();
    let queues = [(); 6].map(|()| Queue::bounded(1).unwrap());
    let processes = [0, 1, 2].map(|n| {
        Process::builder()
            .method(METHODS[n])
            .spawn(put_two, (queues[n].clone(), ready.clone()))
            .unwrap()
    });
    thread::scope(|scope| {
        let threads = [3, 4, 5].map(|n| {
            let (queue, ready) = (queues[n].clone(), ready.clone());
            scope.spawn(|| put_two(queue, ready))
        });
        for _ in 0..6 {
            ready.get().unwrap();
        }
        thread::sleep(A_WHILE);
        for queue in &queues {
            queue.shutdown();
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(Error::ShutDown));
        }
    });
    for process in processes {
        assert_eq!(process.join().unwrap(), Err(Error::ShutDown));
    }
    for queue in &queues {
        // Messages in the queue are still there; messages that waited for room are not.
        assert_eq!(queue.get(), Ok(1));
        assert_eq!(queue.get(), Err(Error::ShutDown));
    }
}

#[test]
fn after_a_shutdown_the_rest_is_drained() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(10).unwrap();
    let large = pattern(1, 50_000);
    queue
        .put_many([vec![1], large.clone(), vec![2], large.clone()])
        .unwrap();
    assert!(!queue.is_shut_down());
    queue.shutdown();
    queue.shutdown();
    assert!(matches!(queue.put(vec![3]), Err(PutError::ShutDown(v)) if v == [3]));
    assert!(matches!(queue.try_put(large.clone()), Err(PutError::ShutDown(v)) if v == large));
    assert!(matches!(
        queue.put_timeout(vec![], Duration::ZERO),
        Err(PutError::ShutDown(_))
    ));
    assert!(matches!(queue.put_many([vec![3], vec![4]]), Err(PutError::ShutDown(v)) if v == [[3], [4]]));
    assert_eq!(queue.len(), 4);
    assert!(queue.iter().eq([vec![1], large.clone(), vec![2], large]));
    assert_eq!(queue.try_get(), Err(Error::ShutDown));
}

#[test]
fn shutdown_now_drops_what_is_there() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    queue
        .put_many((0..500).map(|n| pattern(n, if n % 10 == 0 { 20_000 } else { 100 })))
        .unwrap();
    queue.shutdown_now();
    assert_eq!(queue.len(), 0);
    assert_eq!(queue.get(), Err(Error::ShutDown));
    assert_eq!(queue.iter().count(), 0);
    assert!(matches!(queue.put(vec![]), Err(PutError::ShutDown(_))));
}

#[test]
fn shutdown_now_ends_every_wait() {
    let _watchdog = watchdog();
    let (full, bare) = (
        JoinableQueue::bounded(1).unwrap(),
        Queue::<u8>::unbounded().unwrap(),
    );
    full.put(1).unwrap();
    thread::scope(|scope| {
        let producer = scope.spawn(|| full.put(2));
        let joiner = scope.spawn(|| full.join());
        let consumer = scope.spawn(|| bare.get());
        thread::sleep(A_WHILE);
        full.shutdown_now();
        bare.shutdown_now();
        assert!(matches!(producer.join().unwrap(), Err(PutError::ShutDown(2))));
        joiner.join().unwrap().unwrap();
        assert_eq!(consumer.join().unwrap(), Err(Error::ShutDown));
    });
}

#[test]
fn a_shutdown_in_the_middle_loses_nothing_that_was_put() {
    let _watchdog = watchdog();
    for round in 0..200 {
        let queue = Queue::bounded(1 + round % 5).unwrap();
        thread::scope(|scope| {
            let producers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut put = 0u32;
                    while queue.put(1u32).is_ok() {
                        put += 1;
                    }
                    put
                })
            });
            let consumers = [(); 2].map(|()| scope.spawn(|| queue.iter().sum::<u32>()));
            thread::sleep(Duration::from_micros(300));
            queue.shutdown();
            let put: u32 = producers.map(|p| p.join().unwrap()).iter().sum();
            let got: u32 = consumers.map(|c| c.join().unwrap()).iter().sum();
            assert_eq!(put, got);
        });
    }
}

#[test]
fn iterating_goes_on_until_the_shutdown() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    thread::scope(|scope| {
        let consumer = scope.spawn(|| (&queue).into_iter().collect::<Vec<u32>>());
        queue.put(1).unwrap();
        until(|| queue.is_empty());
        queue.put(2).unwrap();
        thread::sleep(A_WHILE);
        assert!(!consumer.is_finished());
        queue.shutdown();
        assert_eq!(consumer.join().unwrap(), [1, 2]);
    });
}

// ---- the other queues ----

fn do_jobs(jobs: JoinableQueue<u32>, sums: Queue<u32>) {
    let mut sum = 0;
    for job in jobs.iter() {
        sum += job;
        jobs.task_done().unwrap();
    }
    sums.put(sum).unwrap();
}

#[procession::test]
fn join_waits_for_the_work() {
    let _watchdog = watchdog();
    let (jobs, sums) = (JoinableQueue::bounded(10).unwrap(), Queue::unbounded().unwrap());
    let workers = METHODS.map(|method| {
        Process::builder()
            .method(method)
            .spawn(do_jobs, (jobs.clone(), sums.clone()))
            .unwrap()
    });
    for _ in 0..3 {
        jobs.put_many(1..=1_000).unwrap();
        jobs.join().unwrap();
        assert_eq!((jobs.unfinished(), jobs.len()), (0, 0));
    }
    jobs.shutdown();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(sums.get_many(3).unwrap().iter().sum::<u32>(), 3 * 500_500);
}

#[test]
fn tasks_are_counted() {
    let _watchdog = watchdog();
    let jobs = JoinableQueue::unbounded().unwrap();
    assert_eq!(jobs.task_done(), Err(Error::TooManyTasksDone));
    jobs.join().unwrap();
    jobs.put_many([1, 2]).unwrap();
    assert_eq!(jobs.unfinished(), 2);
    let timeout = Duration::from_millis(30);
    assert_eq!(
        not_before(timeout, || jobs.join_timeout(timeout)),
        Err(Error::Timeout)
    );
    jobs.get().unwrap();
    assert_eq!((jobs.unfinished(), jobs.len()), (2, 1));
    jobs.task_done().unwrap();
    jobs.get().unwrap();
    thread::scope(|scope| {
        let joiners = [(); 3].map(|()| scope.spawn(|| jobs.join()));
        thread::sleep(A_WHILE);
        assert!(joiners.iter().all(|joiner| !joiner.is_finished()));
        jobs.task_done().unwrap();
        for joiner in joiners {
            joiner.join().unwrap().unwrap();
        }
    });
    assert_eq!(jobs.task_done(), Err(Error::TooManyTasksDone));
    jobs.put(3).unwrap();
    assert_eq!(jobs.join_timeout(Duration::ZERO), Err(Error::Timeout));
}

#[test]
fn work_that_is_done_at_once_is_counted() {
    let _watchdog = watchdog();
    const COUNT: usize = 200_000;
    let jobs = JoinableQueue::bounded(5).unwrap();
    let worker = jobs.clone();
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            (0..COUNT)
                .filter(|_| worker.get().is_ok_and(|_: u32| worker.task_done().is_err()))
                .count()
        });
        for _ in 0..COUNT {
            jobs.put(1).unwrap();
        }
        assert_eq!(
            worker.join().unwrap(),
            0,
            "times it was told that there was no work to be done"
        );
    });
    jobs.join_timeout(Duration::ZERO).unwrap();
}

#[test]
fn what_shutdown_now_drops_is_done() {
    let _watchdog = watchdog();
    let jobs = JoinableQueue::unbounded().unwrap();
    jobs.put_many([1, 2, 3]).unwrap();
    jobs.get().unwrap();
    jobs.shutdown_now();
    // One item is being worked on; the other two are gone.
    assert_eq!(jobs.unfinished(), 1);
    jobs.task_done().unwrap();
    jobs.join().unwrap();
    assert_eq!(jobs.task_done(), Err(Error::TooManyTasksDone));
}

fn double(numbers: SimpleQueue<u32>, doubled: SimpleQueue<u32>) {
    for _ in 0..10 {
        doubled.put(2 * numbers.get().unwrap()).unwrap();
    }
}

#[procession::test]
fn the_simple_queue() {
    let _watchdog = watchdog();
    let (numbers, doubled) = (SimpleQueue::new().unwrap(), SimpleQueue::new().unwrap());
    assert!(numbers.is_empty());
    let process = Process::spawn(double, (numbers.clone(), doubled.clone())).unwrap();
    for n in 0..10 {
        numbers.put(n).unwrap();
    }
    for n in 0..10 {
        assert_eq!(doubled.get().unwrap(), 2 * n);
    }
    process.join().unwrap();
    assert!(numbers.is_empty() && doubled.is_empty());
}

// ---- bytes in place ----

#[test]
fn reserved_bytes_arrive_when_committed() {
    let _watchdog = watchdog();
    let queue = ByteQueue::bounded(2).unwrap();
    for len in [0, 1, 100, 8_192, 8_193, 65_537, 3 << 20] {
        let mut room = queue.reserve(len).unwrap();
        assert_eq!((room.len(), queue.len()), (len, 0));
        room.copy_from_slice(&pattern(4, len));
        assert!(room[..] == pattern(4, len));
        room.commit().unwrap();
        assert_eq!(queue.len(), 1);
        let message = queue.get().unwrap();
        assert!(message.as_ref() == pattern(4, len), "{len} bytes");
        assert!(Vec::from(message) == pattern(4, len), "{len} bytes");
    }
}

#[test]
fn a_reservation_that_is_dropped_never_was() {
    let _watchdog = watchdog();
    let queue = ByteQueue::bounded(1).unwrap();
    drop(queue.reserve(1 << 20).unwrap());
    assert!(queue.is_empty());
    // Empty messages use no memory either, however many there are.
    let rooms: Vec<_> = (0..5).map(|_| queue.reserve(10_000).unwrap()).collect();
    queue.put(b"whole").unwrap();
    drop(rooms);
    assert_eq!(&queue.get().unwrap()[..], b"whole");
    assert_eq!(queue.try_get().unwrap_err(), Error::Empty);
}

#[test]
fn a_reservation_that_is_refused_is_given_back() {
    let _watchdog = watchdog();
    let queue = ByteQueue::bounded(1).unwrap();
    queue.put(b"first").unwrap();
    let mut room = queue.reserve(20_000).unwrap();
    room.fill(7);
    let Err(PutError::Full(room)) = room.try_commit() else {
        panic!("there is no room")
    };
    let timeout = Duration::from_millis(20);
    let Err(PutError::Timeout(room)) = not_before(timeout, || room.commit_timeout(timeout)) else {
        panic!("there is no room")
    };
    queue.get().unwrap();
    room.try_commit().unwrap();

    let mut room = queue.reserve(10).unwrap();
    room.fill(8);
    thread::scope(|scope| {
        let producer = scope.spawn(|| room.commit());
        thread::sleep(A_WHILE);
        queue.shutdown();
        let Err(PutError::ShutDown(room)) = producer.join().unwrap() else {
            panic!("it was shut down")
        };
        assert_eq!(room[..], [8; 10]);
    });
    assert!(queue.get().unwrap().iter().all(|&b| b == 7));
    assert_eq!(queue.get().unwrap_err(), Error::ShutDown);
    assert_eq!(queue.put(b"late"), Err(Error::ShutDown));
    assert_eq!(queue.put(&[0; 100_000]), Err(Error::ShutDown));
}

#[test]
fn a_lent_message_stays_while_it_is_held() {
    let _watchdog = watchdog();
    let queue = ByteQueue::unbounded().unwrap();
    let held: Vec<_> = (0..20)
        .map(|n| {
            queue.put(&pattern(n, 30_000)).unwrap();
            queue.get().unwrap()
        })
        .collect();
    for n in 100..120 {
        queue.put(&pattern(n, 30_000)).unwrap();
    }
    queue.shutdown_now();
    drop(queue);
    for (n, message) in held.iter().enumerate() {
        assert!(message[..] == pattern(n as u64, 30_000));
    }
}

#[test]
fn messages_copied_into_a_buffer_replace_what_was_there() {
    let _watchdog = watchdog();
    let queue = ByteQueue::unbounded().unwrap();
    let mut buffer = b"old".to_vec();
    for len in [10, 20_000, 0, 8_192] {
        queue.put(&pattern(1, len)).unwrap();
        queue.get_into(&mut buffer).unwrap();
        assert!(buffer == pattern(1, len), "{len} bytes");
    }
}

fn fill_frames(queue: ByteQueue, count: u64) {
    for n in 0..count {
        let mut room = queue.reserve(100_000).unwrap();
        room.copy_from_slice(&pattern(n, 100_000));
        room.commit().unwrap();
    }
}

#[procession::test]
fn frames_cross_processes_in_place() {
    let _watchdog = watchdog();
    for method in METHODS {
        let queue = ByteQueue::bounded(3).unwrap();
        let process = Process::builder()
            .method(method)
            .spawn(fill_frames, (queue.clone(), 50))
            .unwrap();
        for n in 0..50 {
            assert!(queue.get().unwrap()[..] == pattern(n, 100_000), "frame {n}");
        }
        process.join().unwrap();
    }
}

// ---- handles as messages ----

#[derive(Serialize, Deserialize)]
struct Errand {
    questions: Queue<u32>,
    answers: JoinableQueue<u32>,
    frames: ByteQueue,
    lock: Lock,
    more: Vec<Option<Queue<String>>>,
}

fn run_errands(errands: Queue<Errand>) {
    for errand in errands.iter() {
        let _guard = errand.lock.lock().unwrap();
        for question in errand.questions.iter() {
            errand.answers.put(question + 1).unwrap();
        }
        errand.frames.put(&pattern(1, 10_000)).unwrap();
        for queue in errand.more.iter().flatten() {
            queue.put("hello".to_owned()).unwrap();
        }
    }
}

#[procession::test]
fn handles_travel_through_queues() {
    let _watchdog = watchdog();
    for method in METHODS {
        let errands = Queue::unbounded().unwrap();
        let process = Process::builder()
            .method(method)
            .spawn(run_errands, errands.clone())
            .unwrap();
        for round in 0..20 {
            let questions = Queue::unbounded().unwrap();
            let answers = JoinableQueue::unbounded().unwrap();
            let (frames, lock) = (ByteQueue::unbounded().unwrap(), Lock::new().unwrap());
            let greetings = [(); 3].map(|()| Queue::unbounded().unwrap());
            let guard = lock.lock().unwrap();
            errands
                .put(Errand {
                    questions: questions.clone(),
                    answers: answers.clone(),
                    frames: frames.clone(),
                    lock: lock.clone(),
                    more: greetings.iter().cloned().map(Some).chain([None]).collect(),
                })
                .unwrap();
            questions.put(round).unwrap();
            questions.shutdown();
            // Passed on and still held here: the process does not begin before this one releases the lock.
            thread::sleep(Duration::from_millis(1));
            assert!(answers.is_empty());
            drop(guard);
            assert_eq!(answers.get().unwrap(), round + 1);
            assert!(frames.get().unwrap()[..] == pattern(1, 10_000));
            for greeting in &greetings {
                assert_eq!(greeting.get().unwrap(), "hello");
            }
        }
        errands.shutdown();
        process.join().unwrap();
    }
}

#[test]
fn a_message_keeps_what_it_refers_to() {
    let _watchdog = watchdog();
    let outer = Queue::unbounded().unwrap();
    {
        let inner = Queue::unbounded().unwrap();
        inner.put("kept".to_owned()).unwrap();
        outer.put(inner).unwrap();
    }
    // Another object would be at its offset by now.
    let _others: Vec<_> = (0..100).map(|_| Queue::<u8>::unbounded().unwrap()).collect();
    assert_eq!(outer.get().unwrap().get().unwrap(), "kept");
}

/// A named type, because a queue of queues of itself needs one.
#[derive(Clone, Serialize, Deserialize)]
struct Rope(Queue<Rope>);

#[test]
fn a_queue_goes_through_itself() {
    let _watchdog = watchdog();
    let queue = Queue::unbounded().unwrap();
    queue.put(Rope(queue.clone())).unwrap();
    queue.put(Rope(queue.clone())).unwrap();
    let Rope(same) = queue.get().unwrap();
    drop(queue);
    assert_eq!(same.len(), 1);
    let Rope(again) = same.get().unwrap();
    drop(same);
    again.put(Rope(again.clone())).unwrap();
    assert_eq!(again.len(), 1);
    again.shutdown_now();
}

fn use_rope(rope: Rope) -> Rope {
    let Rope(inner) = rope.0.get().unwrap();
    inner.put(rope.clone()).unwrap();
    rope
}

#[procession::test]
fn a_queue_goes_through_itself_to_another_process_and_back() {
    let _watchdog = watchdog();
    for method in METHODS {
        let queue = Queue::unbounded().unwrap();
        queue.put(Rope(queue.clone())).unwrap();
        let process = Process::builder()
            .method(method)
            .spawn(use_rope, Rope(queue.clone()))
            .unwrap();
        drop(queue);
        let Rope(back) = process.join().unwrap();
        assert_eq!(back.len(), 1);
        back.shutdown_now();
    }
}

#[test]
fn a_handle_stays_in_its_program() {
    let queue = Queue::<u8>::unbounded().unwrap();
    for error in [
        serde_json::to_string(&queue).unwrap_err(),
        serde_json::to_string(&Lock::new().unwrap()).unwrap_err(),
        serde_json::to_string(&[ByteQueue::unbounded().unwrap()]).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("can only travel inside its program"),
            "{error}"
        );
    }
    // A handle cannot be made up either.
    let forged = serde_json::from_str::<Queue<u8>>(r#"{"heap":1,"off":4096,"serial":1}"#).unwrap_err();
    assert!(
        forged.to_string().contains("can only travel inside its program"),
        "{forged}"
    );
    // The failure above does not affect messages inside the program.
    let outer = Queue::unbounded().unwrap();
    outer.put(queue).unwrap();
    outer.get().unwrap();
}

/// A value that is serialised as numbers, and deserialised as a handle.
struct Forged(u64);

impl Serialize for Forged {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, 4_096u64, 1u64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forged {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::<u8>::deserialize(deserializer).map(|_| panic!("a forged handle was believed"))
    }
}

/// A value that is serialised as one kind of handle, and deserialised as another.
struct Swapped(Queue<u8>);

impl Serialize for Swapped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Swapped {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer) {
            Ok(text) => panic!("a handle was read as {text:?}"),
            Err(error) => Err(error),
        }
    }
}

/// A queue that is deserialised as a queue of another type, or as a lock.
struct Retyped<const AS_LOCK: bool>(Queue<u8>);

impl<const AS_LOCK: bool> Serialize for Retyped<AS_LOCK> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, const AS_LOCK: bool> Deserialize<'de> for Retyped<AS_LOCK> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if AS_LOCK {
            Lock::deserialize(deserializer).map(|_| panic!("a queue was taken for a lock"))
        } else {
            Queue::<u16>::deserialize(deserializer).map(|_| panic!("a queue was taken for another"))
        }
    }
}

fn decode_error<T: Serialize + serde::de::DeserializeOwned>(value: T) -> String {
    let queue = Queue::unbounded().unwrap();
    queue.put(value).unwrap();
    match queue.get() {
        Err(error @ Error::Decode { .. }) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was decoded"),
    }
}

#[test]
fn handles_cannot_be_forged() {
    let _watchdog = watchdog();
    let queue = || Queue::unbounded().unwrap();
    let text = decode_error(Forged(42));
    assert!(text.contains("belongs to another program"), "{text}");
    decode_error(Swapped(queue()));
    let text = decode_error(Retyped::<true>(queue()));
    assert!(text.contains("not a lock of this type"), "{text}");
    let text = decode_error(Retyped::<false>(queue()));
    assert!(text.contains("not a queue of this type"), "{text}");
}

// ---- values that cannot be encoded or decoded ----

/// A number that cannot be encoded if it is negative, nor decoded if it is odd.
#[derive(Debug, PartialEq)]
struct Picky(i32, String);

impl Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 < 0 {
            return Err(serde::ser::Error::custom("negative"));
        }
        (self.0, &self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (n, text) = Deserialize::deserialize(deserializer)?;
        if n % 2 == 1 {
            return Err(serde::de::Error::custom("odd"));
        }
        Ok(Self(n, text))
    }
}

fn picky(n: i32, len: usize) -> Picky {
    Picky(n, "x".repeat(len))
}

#[test]
fn a_value_that_does_not_decode_is_an_error_and_the_queue_lives_on() {
    let _watchdog = watchdog();
    // One in the ring, and one in its own block.
    for len in [10, 50_000] {
        let queue = Queue::bounded(20).unwrap();
        queue.put(picky(1, len)).unwrap();
        queue.put(picky(2, len)).unwrap();
        match queue.get() {
            Err(Error::Decode { expected, .. }) => assert!(expected.ends_with("Picky"), "{expected}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(queue.get().unwrap(), picky(2, len));

        queue.put_many((1..=7).map(|n| picky(n, len))).unwrap();
        assert!(matches!(queue.try_get(), Err(Error::Decode { .. })));
        let even: Vec<_> = queue
            .get_many(6)
            .unwrap()
            .into_iter()
            .map(|value| value.0)
            .collect();
        assert_eq!(even, [2, 4, 6]);
        queue.put(picky(1, len)).unwrap();
        assert!(matches!(queue.get_many(5), Err(Error::Decode { .. })));

        queue.put_many((1..=7).map(|n| picky(n, len))).unwrap();
        queue.shutdown();
        assert!(queue.iter().map(|value| value.0).eq([2, 4, 6]));
    }
}

fn take_picky(value: Picky) -> i32 {
    value.0
}

fn give_picky(n: i32) -> Picky {
    picky(n, 1)
}

#[procession::test]
fn arguments_and_results_that_do_not_travel_are_errors() {
    let _watchdog = watchdog();
    for method in METHODS {
        let start = || Process::builder().method(method);
        assert_eq!(start().spawn(take_picky, picky(2, 1)).unwrap().join().unwrap(), 2);
        assert!(matches!(
            start().spawn(take_picky, picky(-1, 1)),
            Err(Error::Encode { .. })
        ));
        let failed = start().spawn(take_picky, picky(1, 1)).unwrap().join();
        assert!(
            matches!(&failed, Err(Error::Process(ProcessError::Failed { reason, .. })) if reason.contains("Picky")),
            "{failed:?}"
        );
        let failed = start().spawn(give_picky, -1).unwrap().join();
        assert!(
            matches!(&failed, Err(Error::Process(ProcessError::Failed { reason, .. })) if reason.contains("encode")),
            "{failed:?}"
        );
        let failed = start().spawn(give_picky, 1).unwrap().join();
        assert!(matches!(&failed, Err(Error::Decode { .. })), "{failed:?}");
    }
}

#[test]
fn a_value_that_was_not_put_is_given_back() {
    let _watchdog = watchdog();
    let queue = Queue::bounded(2).unwrap();
    match queue.put(picky(-1, 3)) {
        Err(PutError::Failed(value, Error::Encode { .. })) => assert_eq!(value, picky(-1, 3)),
        other => panic!("{other:?}"),
    }
    match queue.put_many([2, -3, 4].map(|n| picky(n, 3))) {
        Err(PutError::Failed(rest, Error::Encode { .. })) => {
            assert_eq!(rest, [picky(-3, 3), picky(4, 3)]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.get().unwrap(), picky(2, 3));
    queue.put_many([2, 4].map(|n| picky(n, 3))).unwrap();
    let full = queue.try_put(picky(6, 50_000)).unwrap_err();
    assert_eq!(full.error(), Error::Full);
    assert_eq!(full.into_inner(), picky(6, 50_000));
    let late = queue.put_timeout(picky(8, 3), Duration::ZERO).unwrap_err();
    assert_eq!(
        (Error::from(late), queue.len()),
        (Error::Timeout, 2),
        "an error alone"
    );
    queue.shutdown();
    assert_eq!(queue.put(picky(10, 3)).unwrap_err().into_inner(), picky(10, 3));
}

// ---- memory ----

const MIB: u64 = 1 << 20;

#[procession::test]
fn handles_and_messages_give_their_memory_back() {
    let _watchdog = watchdog_of(300);
    alone("handles_and_messages_give_their_memory_back", || {
        let before = resident_bytes().unwrap();
        let quiet = Queue::<u8>::unbounded().unwrap();
        let bounded = |what: &str| {
            // Memory that is kept for more messages goes back when a consumer waits in vain.
            assert_eq!(quiet.get_timeout(Duration::from_millis(20)), Err(Error::Timeout));
            let now = resident_bytes().unwrap();
            assert!(
                now <= before + 16 * MIB,
                "after {what}: {before} has become {now}"
            );
        };
        for n in 0..100_000u64 {
            let (queue, lock) = (Queue::unbounded().unwrap(), Lock::new().unwrap());
            queue.put((n, lock.clone())).unwrap();
            let (same, _another) = (queue.clone(), lock.clone());
            drop(queue);
            assert_eq!(same.get().unwrap().0, n);
        }
        bounded("100,000 queues and locks, one after the other");

        let many: Vec<_> = (0..10_000u64)
            .map(|n| {
                let queue = Queue::unbounded().unwrap();
                queue.put(n).unwrap();
                (queue, Lock::new().unwrap())
            })
            .collect();
        assert!(
            many.iter()
                .enumerate()
                .all(|(n, (queue, _))| queue.get().unwrap() == n as u64)
        );
        drop(many);
        bounded("10,000 queues and locks at once");

        let queue = Queue::unbounded().unwrap();
        for round in 0..10 {
            queue
                .put_many((0..10_000).map(|n| pattern(n, (round * 10) as usize)))
                .unwrap();
            (0..10_000).for_each(|n| assert!(queue.get().unwrap() == pattern(n, (round * 10) as usize)));
        }
        bounded("100,000 small messages");

        let bytes = ByteQueue::unbounded().unwrap();
        for len in [10_000, 100_000, 1_000_000] {
            let message = pattern(7, len);
            (0..200).for_each(|_| bytes.put(&message).unwrap());
            (0..200).for_each(|_| assert!(bytes.get().unwrap()[..] == message));
        }
        bounded("large messages");

        bytes.put(&pattern(7, 50 << 20)).unwrap();
        bytes.shutdown_now();
        bounded("a shutdown");
        for _ in 0..20 {
            let dropped = ByteQueue::unbounded().unwrap();
            (0..20).for_each(|_| dropped.put(&pattern(7, 1 << 20)).unwrap());
        }
        bounded("queues dropped with their messages");
    });
}

#[procession::test]
fn processes_that_end_give_their_memory_back() {
    fn hoard(queue: Queue<Vec<u8>>) {
        let hoard: Vec<_> = (0..100).map(|_| Queue::unbounded().unwrap()).collect();
        for queue in &hoard {
            queue.put(pattern(1, 20_000)).unwrap();
        }
        queue.put(pattern(2, 20_000)).unwrap();
        // Ends without freeing anything.
        std::process::exit(0);
    }
    let _watchdog = watchdog();
    alone("processes_that_end_give_their_memory_back", || {
        let queue = Queue::unbounded().unwrap();
        let before = resident_bytes().unwrap();
        for method in METHODS {
            let count = if method == StartMethod::Spawn { 10 } else { 30 };
            for _ in 0..count {
                let process = Process::builder()
                    .method(method)
                    .spawn(hoard, queue.clone())
                    .unwrap();
                assert_eq!(process.wait(), Ok(ExitStatus::Code(0)), "{method:?}");
                assert!(queue.get().unwrap() == pattern(2, 20_000));
            }
        }
        let now = resident_bytes().unwrap();
        assert!(now <= before + 16 * MIB, "{before} has become {now}");
    });
}

#[test]
fn what_is_kept_for_a_stream_goes_back_when_it_ends() {
    let _watchdog = watchdog();
    alone("what_is_kept_for_a_stream_goes_back_when_it_ends", || {
        let queue = ByteQueue::unbounded().unwrap();
        let before = resident_bytes().unwrap();
        // Ten messages in the queue at any time, each with its own block.
        let message = vec![1; 4 << 20];
        (0..10).for_each(|_| queue.put(&message).unwrap());
        for _ in 0..100 {
            drop(queue.get().unwrap());
            queue.put(&message).unwrap();
        }
        (0..10).for_each(|_| drop(queue.get().unwrap()));
        let kept = resident_bytes().unwrap();
        assert!(
            kept >= before + 30 * MIB,
            "{before} has become {kept}: memory is not kept"
        );
        assert_eq!(
            queue.get_timeout(Duration::from_millis(1_500)).unwrap_err(),
            Error::Timeout
        );
        let now = resident_bytes().unwrap();
        assert!(
            now <= before + 16 * MIB,
            "{before} has become {now} when it was quiet"
        );
    });
}
