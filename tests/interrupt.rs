//! A hook that ends waits: every kind of wait ends, no message is lost, and no wake-up is lost.
//!
//! The hook stays for the life of the process, so it asks of each thread whether this thread should stop waiting.

mod common;

use common::{A_WHILE, watchdog_of};
use procession::{
    Barrier, Condition, Error, Event, JoinableQueue, Lock, LockError, Permit, PutError, Queue, RLock,
    Selector, Semaphore, on_interrupt, wait,
};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread::{self, JoinHandle};
use std::time::Duration;

thread_local! {
    static STOP: std::cell::OnceCell<Arc<AtomicBool>> = const { std::cell::OnceCell::new() };
}

fn is_told_to_stop() -> bool {
    STOP.with(|stop| stop.get().is_some_and(|stop| stop.load(Ordering::SeqCst)))
}

/// Starts a thread that waits in `wait`, and that can be told to stop.
fn waiter<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> (Arc<AtomicBool>, JoinHandle<T>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| assert!(on_interrupt(is_told_to_stop)));
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let thread = thread::spawn(move || {
        STOP.with(|stop| assert!(stop.set(told).is_ok()));
        wait()
    });
    (stop, thread)
}

/// Returns the answer of `wait` when its thread is told to stop while it sleeps.
fn stopped<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (stop, thread) = waiter(wait);
    thread::sleep(A_WHILE);
    assert!(!thread.is_finished(), "it does not wait");
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap()
}

#[test]
fn only_the_first_hook_counts() {
    let _watchdog = watchdog_of(60);
    drop(waiter(|| ()));
    assert!(!on_interrupt(|| panic!("the second hook is asked")));
    assert_eq!(
        Queue::<u8>::unbounded()
            .unwrap()
            .get_timeout(Duration::from_millis(1_500)),
        Err(Error::Timeout)
    );
}

#[test]
fn waits_of_queues_end_and_nothing_is_lost() {
    let _watchdog = watchdog_of(60);
    let queue = Queue::bounded(2).unwrap();
    let consumer = queue.clone();
    assert_eq!(stopped(move || consumer.get()), Err(Error::Interrupted));
    let consumer = queue.clone();
    let late = Duration::from_secs(3_600);
    assert_eq!(
        stopped(move || consumer.get_timeout(late)),
        Err(Error::Interrupted)
    );
    let consumer = queue.clone();
    assert_eq!(stopped(move || consumer.get_many(5)), Err(Error::Interrupted));

    queue.put_many([1, 2]).unwrap();
    let producer = queue.clone();
    match stopped(move || producer.put(3)) {
        Err(PutError::Failed(3, Error::Interrupted)) => {}
        other => panic!("{other:?}"),
    }
    let producer = queue.clone();
    match stopped(move || producer.put_many(3..=9)) {
        Err(PutError::Failed(rest, Error::Interrupted)) => assert_eq!(rest, [3, 4, 5, 6, 7, 8, 9]),
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.get_many(5).unwrap(), [1, 2]);
    // Of many messages, those for which there was room are in the queue, and the rest is returned.
    let producer = queue.clone();
    match stopped(move || producer.put_many(1..=5)) {
        Err(PutError::Failed(rest, Error::Interrupted)) => assert_eq!(rest, [3, 4, 5]),
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.get_many(5).unwrap(), [1, 2]);
    assert!(queue.is_empty());
}

#[test]
fn waits_for_work_to_be_done_end() {
    let _watchdog = watchdog_of(60);
    let jobs = JoinableQueue::unbounded().unwrap();
    jobs.put(1).unwrap();
    let joiner = jobs.clone();
    assert_eq!(stopped(move || joiner.join()), Err(Error::Interrupted));
    jobs.get().unwrap();
    jobs.task_done().unwrap();
    jobs.join().unwrap();
}

#[test]
fn waits_for_locks_and_permits_end() {
    let _watchdog = watchdog_of(60);
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    let waiting = lock.clone();
    assert!(stopped(move || matches!(
        waiting.lock(),
        Err(LockError::Interrupted)
    )));
    assert!(lock.is_locked());
    drop(guard);
    drop(lock.try_lock().unwrap());

    let lock = RLock::new().unwrap();
    let guard = lock.lock().unwrap();
    let waiting = lock.clone();
    assert!(stopped(move || matches!(
        waiting.lock(),
        Err(LockError::Interrupted)
    )));
    assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (1, true));
    drop(guard);

    let semaphore = Semaphore::bounded(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    let waiting = semaphore.clone();
    assert_eq!(
        stopped(move || waiting.acquire().map(Permit::forget)),
        Err(Error::Interrupted)
    );
    drop(permit);
    assert_eq!(semaphore.value(), 1);
}

#[test]
fn what_needs_no_wait_is_done_all_the_same() {
    let _watchdog = watchdog_of(60);
    let (stop, thread) = waiter(|| {
        while !is_told_to_stop() {
            thread::yield_now();
        }
        let queue = Queue::unbounded().unwrap();
        queue.put(1).unwrap();
        drop(Lock::new().unwrap().lock().unwrap());
        drop(Semaphore::new(1).unwrap().acquire().unwrap());
        queue.get()
    });
    stop.store(true, Ordering::SeqCst);
    assert_eq!(thread.join().unwrap(), Ok(1));
}

/// Lets two threads wait, and stops one of them at about the moment when one message arrives. The message is not lost:
/// one of the two threads gets it.
fn one_leaves<T: Send + 'static>(
    wait: impl Fn() -> Result<T, Error> + Clone + Send + 'static,
    give: impl Fn(),
) -> Vec<T> {
    let mut taken = Vec::new();
    for round in 0..6 {
        let (stop, leaver) = waiter(wait.clone());
        let (_, stayer) = waiter(wait.clone());
        thread::sleep(A_WHILE * (round % 2));
        stop.store(true, Ordering::SeqCst);
        give();
        match leaver.join().unwrap() {
            Ok(first) => {
                taken.push(first);
                give();
            }
            Err(error) => assert_eq!(error, Error::Interrupted),
        }
        taken.push(stayer.join().unwrap().unwrap());
    }
    taken
}

#[test]
fn a_thread_that_leaves_takes_nothing_along() {
    let _watchdog = watchdog_of(120);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (queue, next) = (Queue::unbounded().unwrap(), AtomicU32::new(0));
            let consumer = queue.clone();
            let taken = one_leaves(
                move || consumer.get(),
                || queue.put(next.fetch_add(1, Ordering::SeqCst)).unwrap(),
            );
            assert_eq!(taken, (0..next.load(Ordering::SeqCst)).collect::<Vec<_>>());
        });
        scope.spawn(|| {
            let semaphore = Semaphore::new(0).unwrap();
            let waiting = semaphore.clone();
            one_leaves(
                move || waiting.acquire().map(Permit::forget),
                || semaphore.release().unwrap(),
            );
            assert_eq!(semaphore.value(), 0);
        });
    });
}

#[test]
fn waits_for_conditions_events_and_barriers_end_as_if_they_had_not_been() {
    let _watchdog = watchdog_of(60);
    let condition = Condition::new().unwrap();
    let waits = condition.clone();
    let ended = stopped(move || {
        let mut guard = waits.lock().unwrap();
        let ended = guard.wait();
        (ended, waits.try_lock().is_err())
    });
    assert_eq!(
        ended,
        (Err(Error::Interrupted), true),
        "and the lock is held again"
    );
    assert_eq!(condition.waiting(), 0);
    drop(condition.try_lock().unwrap());

    let event = Event::new().unwrap();
    assert_eq!(stopped(move || event.wait()), Err(Error::Interrupted));

    let barrier = Barrier::new(2).unwrap();
    let waits = barrier.clone();
    assert_eq!(stopped(move || waits.wait()), Err(Error::Interrupted));
    assert_eq!((barrier.waiting(), barrier.is_broken()), (0, false));
}

#[test]
fn waits_for_several_things_end_and_the_selector_goes_on() {
    let _watchdog = watchdog_of(60);
    let queue = Queue::unbounded().unwrap();
    let (_peer, socket) = UnixStream::pair().unwrap();
    let late = Duration::from_secs(3_600);

    // One selector sleeps at its bell. The other has a descriptor among its members, and sleeps in epoll.
    for with_socket in [false, true] {
        let mut selector = Selector::new().unwrap();
        let message = selector.add(&queue).unwrap();
        if with_socket {
            selector.add(&socket).unwrap();
        }
        let (mut selector, ended) = stopped(move || {
            let ended = selector.wait();
            (selector, ended)
        });
        assert_eq!(ended, Err(Error::Interrupted));
        queue.put(1).unwrap();
        assert_eq!(selector.wait(), Ok(vec![message]));
        queue.get().unwrap();
    }

    let waits = queue.clone();
    assert_eq!(stopped(move || wait(&[&waits], None)), Err(Error::Interrupted));
    let waits = socket.try_clone().unwrap();
    assert_eq!(
        stopped(move || wait(&[&waits], Some(late))),
        Err(Error::Interrupted)
    );
    let (waits, other) = (queue.clone(), socket);
    assert_eq!(
        stopped(move || wait(&[&waits, &other], None)),
        Err(Error::Interrupted)
    );
}
