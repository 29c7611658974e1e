//! Queues that track their consumers: only the death of a consumer with unfinished items is reported.

mod common;

use common::{A_WHILE, METHODS, until, watchdog_of};
use procession::{Error, JoinableQueue, Process, Queue, StartMethod};
use std::thread;
use std::time::Duration;

/// Long enough for any machine, and less than the watchdog's time.
const PATIENCE: Duration = Duration::from_secs(60);

fn tracked() -> JoinableQueue<Vec<u8>> {
    let queue = JoinableQueue::unbounded().unwrap();
    queue.track_consumers();
    queue
}

/// Sizes of an item that is stored in the queue itself, and of one that has its own block.
const SIZES: [usize; 2] = [10, 50_000];

/// What a consumer does before it waits for ever.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
struct Diligence {
    takes: usize,
    finishes: usize,
    /// Whether it gets all items at once, or one by one.
    at_once: bool,
}

fn consume(queue: JoinableQueue<Vec<u8>>, how: Diligence, ready: Queue<()>, never: Queue<()>) {
    if how.at_once {
        assert_eq!(queue.get_many(how.takes).unwrap().len(), how.takes);
    } else {
        (0..how.takes).for_each(|_| drop(queue.get().unwrap()));
    }
    (0..how.finishes).for_each(|_| queue.task_done().unwrap());
    ready.put(()).unwrap();
    let _ = never.get();
}

/// Starts a consumer, which does its share and then waits for ever.
fn consumer(queue: &JoinableQueue<Vec<u8>>, how: Diligence, method: StartMethod) -> Process<()> {
    let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let process = Process::builder()
        .method(method)
        .spawn(consume, (queue.clone(), how, ready.clone(), never))
        .unwrap();
    ready.get().unwrap();
    process
}

fn lost(items: u64) -> Result<(), Error> {
    Err(Error::ConsumerDied { items })
}

#[procession::test]
fn a_consumer_that_dies_with_unfinished_items_is_reported() {
    let _watchdog = watchdog_of(120);
    for method in METHODS {
        for size in SIZES {
            for (finishes, at_once) in [(0, false), (1, false), (0, true), (2, true)] {
                let queue = tracked();
                queue.put_many(vec![vec![1; size]; 5]).unwrap();
                let how = Diligence {
                    takes: 3,
                    finishes,
                    at_once,
                };
                let process = consumer(&queue, how, method);
                assert_eq!(queue.join_timeout(Duration::ZERO), Err(Error::Timeout));
                process.kill().unwrap();
                process.wait().unwrap();
                assert_eq!(queue.join_timeout(PATIENCE), lost(3 - finishes as u64));
                // The report stays, and the other consumers go on with the other items.
                assert_eq!(queue.unfinished(), 5 - finishes);
                while queue.try_get().is_ok() {
                    queue.task_done().unwrap();
                }
                assert_eq!(queue.join(), lost(3 - finishes as u64));
            }
        }
    }
}

#[procession::test]
fn a_consumer_that_has_finished_is_not_reported() {
    let _watchdog = watchdog_of(120);
    for method in METHODS {
        for size in SIZES {
            let queue = tracked();
            queue.put_many(vec![vec![1; size]; 4]).unwrap();
            let how = Diligence {
                takes: 3,
                finishes: 3,
                at_once: false,
            };
            let process = consumer(&queue, how, method);
            process.kill().unwrap();
            process.wait().unwrap();
            assert_eq!(queue.join_timeout(Duration::ZERO), Err(Error::Timeout));
            queue.get().unwrap();
            queue.task_done().unwrap();
            queue.join_timeout(PATIENCE).unwrap();
            assert_eq!(queue.task_done(), Err(Error::TooManyTasksDone));
        }
    }
}

#[procession::test]
fn a_join_in_progress_gets_the_report() {
    let _watchdog = watchdog_of(120);
    for method in METHODS {
        let queue = tracked();
        queue.put(vec![1]).unwrap();
        let how = Diligence {
            takes: 1,
            finishes: 0,
            at_once: false,
        };
        let process = consumer(&queue, how, method);
        thread::scope(|scope| {
            let joiners = [(); 2].map(|()| scope.spawn(|| queue.join()));
            thread::sleep(A_WHILE);
            assert!(joiners.iter().all(|joiner| !joiner.is_finished()));
            // No process asks for its state.
            process.kill().unwrap();
            for joiner in joiners {
                assert_eq!(joiner.join().unwrap(), lost(1));
            }
        });
    }
}

fn take_and_leave(queue: JoinableQueue<Vec<u8>>, items: usize, panics: bool) {
    (0..items).for_each(|_| drop(queue.get().unwrap()));
    assert!(!panics, "as planned");
}

#[procession::test]
fn a_consumer_that_ends_or_panics_with_unfinished_items_is_reported_too() {
    let _watchdog = watchdog_of(120);
    for method in METHODS {
        for panics in [false, true] {
            let queue = tracked();
            queue.put_many(SIZES.map(|size| vec![1; size])).unwrap();
            let process = Process::builder()
                .method(method)
                .spawn(take_and_leave, (queue.clone(), 2, panics))
                .unwrap();
            until(|| queue.is_empty());
            // The handle through which it took the items is dropped before the process ends.
            assert_eq!(queue.join_timeout(PATIENCE), lost(2));
            drop(process.join());
        }
    }
}

fn finish_through_another(
    (taker, finisher): (JoinableQueue<Vec<u8>>, JoinableQueue<Vec<u8>>),
    ready: Queue<()>,
    never: Queue<()>,
) {
    drop(taker.get().unwrap());
    finisher.task_done().unwrap();
    drop(taker.get().unwrap());
    drop((taker, finisher.clone()));
    ready.put(()).unwrap();
    let _ = never.get();
}

#[procession::test]
fn it_does_not_matter_through_which_handle() {
    let _watchdog = watchdog_of(120);
    for method in METHODS {
        let queue = tracked();
        queue.put_many(vec![vec![1]; 2]).unwrap();
        let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let args = ((queue.clone(), queue.clone()), ready.clone(), never);
        let process = Process::builder()
            .method(method)
            .spawn(finish_through_another, args)
            .unwrap();
        ready.get().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(queue.join_timeout(PATIENCE), lost(1));
    }
}

#[procession::test]
fn what_shutdown_now_drops_is_nobodys() {
    let _watchdog = watchdog_of(120);
    fn take_and_drop_the_rest(queue: JoinableQueue<Vec<u8>>, ready: Queue<()>, never: Queue<()>) {
        drop(queue.get().unwrap());
        queue.shutdown_now();
        assert_eq!(queue.unfinished(), 1);
        ready.put(()).unwrap();
        let _ = never.get();
    }
    for method in METHODS {
        let queue = tracked();
        queue.put_many(vec![vec![1]; 3]).unwrap();
        let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let process = Process::builder()
            .method(method)
            .spawn(take_and_drop_the_rest, (queue.clone(), ready.clone(), never))
            .unwrap();
        ready.get().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // The item that it had taken is lost, although other items were dropped.
        assert_eq!(queue.join_timeout(PATIENCE), lost(1));
    }
}

#[procession::test]
fn a_forked_child_has_no_items() {
    let _watchdog = watchdog_of(120);
    let queue = tracked();
    queue.put(vec![1]).unwrap();
    queue.get().unwrap();
    let never = Queue::<()>::unbounded().unwrap();
    let child = Process::fork(|| never.get().is_ok()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(Error::Timeout));
    queue.task_done().unwrap();
    queue.join().unwrap();
}

/// Lets many consumers finish at the same time: `join` must compare their counts with the number of items at one
/// moment.
#[procession::test]
fn tasks_are_counted_with_others_at_work() {
    let _watchdog = watchdog_of(120);
    const COUNT: usize = 30_000;
    fn work(queue: JoinableQueue<Vec<u8>>) -> usize {
        std::iter::from_fn(|| queue.get().ok())
            .filter(|_| queue.task_done().is_err())
            .count()
    }
    let queue = JoinableQueue::bounded(3).unwrap();
    queue.track_consumers();
    let workers = METHODS.map(|method| {
        Process::builder()
            .method(method)
            .spawn(work, queue.clone())
            .unwrap()
    });
    for _ in 0..COUNT {
        queue.put(vec![1]).unwrap();
    }
    queue.join_timeout(PATIENCE).unwrap();
    queue.shutdown();
    for worker in workers {
        assert_eq!(
            worker.join().unwrap(),
            0,
            "times it was told that there was no work to be done"
        );
    }
}
