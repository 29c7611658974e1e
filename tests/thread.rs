//! Threads with results, and the queues, conditions and semaphores between them.

mod common;

use common::{A_WHILE, alone, not_before, until, watchdog};
use procession::thread::{Condition, PriorityQueue, Queue, Semaphore, Thread, ThreadError};
use procession::{Error, PutError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(20);

// ---- threads ----

#[test]
fn join_returns_the_functions_result() {
    let _watchdog = watchdog();
    let (go, wait) = mpsc::channel::<()>();
    let mut thread = Thread::builder()
        .name("worker")
        .spawn(move || {
            let _ = wait.recv();
            let name = std::thread::current().name().map(str::to_owned);
            Arc::new(name) // nothing that could be encoded
        })
        .unwrap();
    assert!(thread.is_alive());
    assert_eq!(
        not_before(SHORT, || thread.join_timeout(SHORT)),
        Err(Error::Timeout)
    );
    go.send(()).unwrap();
    assert_eq!(
        thread.join_timeout(Duration::from_secs(600)).unwrap().as_deref(),
        Some("worker")
    );
    assert!(!thread.is_alive());
    let name = "worker".into();
    let again = thread.join();
    assert_eq!(
        again.unwrap_err(),
        Error::Thread(ThreadError::AlreadyJoined { name })
    );
}

#[test]
fn a_panic_is_an_error_with_its_message_and_location() {
    let _watchdog = watchdog();
    let line = line!() + 1;
    let thread = Thread::spawn(|| -> u8 { panic!("the {} is off", "milk") }).unwrap();
    match thread.join() {
        Err(Error::Thread(ThreadError::Panicked {
            name,
            message,
            location,
        })) => {
            assert!(name.starts_with("Thread-"), "{name}");
            assert_eq!(&*message, "the milk is off");
            assert!(
                location.starts_with(&format!("tests/thread.rs:{line}:")),
                "{location}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error() {
    let bad = Thread::builder().name("a\0b").spawn(|| ()).unwrap_err();
    assert!(
        matches!(
            bad,
            Error::Os {
                errno: libc::EINVAL,
                ..
            }
        ),
        "{bad}"
    );
    let huge = Thread::builder().stack_size(1 << 60).spawn(|| ()).unwrap_err();
    assert!(matches!(huge, Error::Os { .. }), "{huge}");
}

#[test]
fn a_thread_runs_on_after_its_handle_is_dropped() {
    let _watchdog = watchdog();
    let done = Arc::new(AtomicBool::new(false));
    drop(Thread::spawn({
        let done = done.clone();
        move || {
            std::thread::sleep(A_WHILE);
            done.store(true, Ordering::Release);
        }
    }));
    until(|| done.load(Ordering::Acquire));
}

// ---- queues: what the common suite of all queues does not test ----

#[test]
fn a_capacity_of_zero_is_refused() {
    assert!(matches!(
        Queue::<u8>::bounded(0),
        Err(Error::Capacity { given: 0, .. })
    ));
}

#[test]
fn values_are_dropped_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let queue = Queue::bounded(4).unwrap();
    queue.put_many((0..4).map(|_| Counted(drops.clone()))).unwrap();
    assert!(queue.try_put(Counted(drops.clone())).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    drop(queue.get());
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    queue.shutdown_now();
    assert_eq!(drops.load(Ordering::Relaxed), 5);
}

#[test]
fn an_order_that_panics_leaves_a_queue_that_works() {
    #[derive(PartialEq, Eq, Debug)]
    struct Touchy(i32);
    impl PartialOrd for Touchy {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Touchy {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            assert!(self.0 >= 0 && other.0 >= 0, "no order");
            self.0.cmp(&other.0)
        }
    }
    let _watchdog = watchdog();
    let queue = PriorityQueue::unbounded();
    queue.put(Touchy(1)).unwrap();
    let bad = Thread::spawn({
        let queue = queue.clone();
        move || queue.put(Touchy(-1)).is_ok()
    });
    assert!(bad.unwrap().join().is_err());
    queue.shutdown_now();
    assert!(matches!(queue.put(Touchy(2)), Err(PutError::ShutDown(Touchy(2)))));
    assert_eq!((queue.len(), queue.get().unwrap_err()), (0, Error::ShutDown));
}

// ---- conditions ----

#[test]
fn notify_wakes_exactly_n_threads_in_their_order() {
    let _watchdog = watchdog();
    for _ in 0..20 {
        let condition = Condition::new((0, Vec::new()));
        let waiters: Vec<_> = (0..5)
            .map(|who| {
                let thread = Thread::spawn({
                    let condition = condition.clone();
                    move || -> procession::Result<()> {
                        let mut guard = condition.lock()?;
                        guard.0 += 1;
                        guard.wait()?;
                        guard.1.push(who);
                        Ok(())
                    }
                })
                .unwrap();
                // One after the other, so that their order is known.
                until(|| condition.lock().unwrap().0 == who + 1);
                thread
            })
            .collect();
        let woken = || {
            let mut woken = condition.lock().unwrap().1.clone();
            woken.sort_unstable();
            woken
        };
        condition.lock().unwrap().notify(2);
        until(|| woken().len() >= 2);
        assert_eq!(woken(), [0, 1]);
        condition.lock().unwrap().notify_one();
        until(|| woken().len() >= 3);
        assert_eq!(woken(), [0, 1, 2]);
        condition.lock().unwrap().notify_all();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
        condition.lock().unwrap().notify_all(); // nobody
    }
}

#[test]
fn a_thread_that_timed_out_takes_no_notification() {
    let _watchdog = watchdog();
    let condition = Condition::new(false);
    let mut guard = condition.lock().unwrap();
    assert_eq!(
        not_before(SHORT, || guard.wait_timeout(SHORT)),
        Err(Error::Timeout)
    );
    let late = not_before(SHORT, || guard.wait_for_timeout(|&mut set| set, SHORT));
    assert_eq!(late, Err(Error::Timeout));
    drop(guard);
    let waiter = Thread::spawn({
        let condition = condition.clone();
        move || {
            let mut guard = condition.lock().unwrap();
            guard.wait_for(|&mut set| set)
        }
    })
    .unwrap();
    until(|| format!("{condition:?}").contains("waiters: 1"));
    let mut guard = condition.lock().unwrap();
    *guard = true;
    guard.notify_one();
    drop(guard);
    waiter.join().unwrap().unwrap();
}

#[test]
fn the_lock_of_a_condition_excludes() {
    let _watchdog = watchdog();
    let condition = Condition::new(());
    let guard = condition.lock().unwrap();
    let other = Thread::spawn({
        let condition = condition.clone();
        move || {
            let tried = condition.try_lock().map(drop);
            (tried, condition.lock_timeout(SHORT).map(drop))
        }
    })
    .unwrap();
    assert_eq!(other.join().unwrap(), (Err(Error::Timeout), Err(Error::Timeout)));
    drop(guard);
    drop(condition.try_lock().unwrap());
    // A panic releases the lock.
    let panics = Thread::spawn({
        let condition = condition.clone();
        move || {
            let _guard = condition.lock().unwrap();
            panic!("as it should");
        }
    });
    assert!(panics.unwrap().join().is_err());
    drop(condition.lock().unwrap());
}

#[test]
fn a_ball_between_two_threads_is_never_lost() {
    const ROUNDS: usize = 5_000;
    let _watchdog = watchdog();
    let table = Condition::new(0);
    let play = |side: usize, table: Condition<usize>| {
        move || -> procession::Result<()> {
            let mut ball = table.lock()?;
            for _ in 0..ROUNDS {
                ball.wait_for(|ball| *ball % 2 == side)?;
                *ball += 1;
                ball.notify_one();
            }
            Ok(())
        }
    };
    let other = Thread::spawn(play(1, table.clone())).unwrap();
    play(0, table.clone())().unwrap();
    other.join().unwrap().unwrap();
    assert_eq!(*table.lock().unwrap(), 2 * ROUNDS);
}

// ---- semaphores ----

#[test]
fn a_semaphore_limits_the_threads_inside() {
    const DESKS: usize = 3;
    let _watchdog = watchdog();
    let desks = Semaphore::bounded(DESKS);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clerks: Vec<_> = (0..8)
        .map(|_| {
            let (desks, now, most) = (desks.clone(), now.clone(), most.clone());
            Thread::spawn(move || {
                for _ in 0..500 {
                    let _desk = desks.acquire().unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                }
            })
            .unwrap()
        })
        .collect();
    for clerk in clerks {
        clerk.join().unwrap();
    }
    assert!((1..=DESKS).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(desks.value(), DESKS);
    assert_eq!(desks.release(), Err(Error::TooManyReleases { max: DESKS as u64 }));
}

#[test]
fn permits_and_deadlines() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::new(0);
    assert_eq!(semaphore.try_acquire().unwrap_err(), Error::Timeout);
    let late = not_before(SHORT, || semaphore.acquire_timeout(SHORT).map(drop));
    assert_eq!(late, Err(Error::Timeout));
    semaphore.release().unwrap();
    semaphore.acquire().unwrap().forget();
    assert_eq!(semaphore.value(), 0);
}

// ---- interrupts ----

static STOP: AtomicBool = AtomicBool::new(false);

#[test]
fn a_hook_ends_every_wait() {
    let _watchdog = watchdog();
    alone("a_hook_ends_every_wait", || {
        assert!(procession::on_interrupt(|| STOP.load(Ordering::Relaxed)));
        let (queue, full) = (Queue::<u8>::unbounded(), Queue::bounded(1).unwrap());
        full.put(1).unwrap();
        let (semaphore, held, line) = (Semaphore::new(0), Condition::new(()), Condition::new(()));
        let _guard = held.lock().unwrap();
        let mut forever = Thread::spawn(|| {
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        STOP.store(true, Ordering::Relaxed);
        // The hook is asked after a second. All waits run at the same time, so together they take about a second.
        std::thread::scope(|waits| {
            waits.spawn(|| assert_eq!(queue.get(), Err(Error::Interrupted)));
            waits.spawn(|| {
                assert!(matches!(
                    full.put(2),
                    Err(PutError::Failed(2, Error::Interrupted))
                ));
            });
            waits.spawn(|| assert_eq!(full.join(), Err(Error::Interrupted)));
            waits.spawn(|| assert_eq!(semaphore.acquire().unwrap_err(), Error::Interrupted));
            waits.spawn(|| assert_eq!(held.lock().map(drop), Err(Error::Interrupted)));
            waits.spawn(|| assert_eq!(line.lock().unwrap().wait(), Err(Error::Interrupted)));
            waits.spawn(|| {
                let joined: procession::Result<()> = forever.join_timeout(Duration::from_secs(600));
                assert_eq!(joined, Err(Error::Interrupted));
            });
        });
    });
}
