//! The recursive lock: its holder can take it again, and no other thread can.

mod common;

use common::{A_WHILE, METHODS, not_before, runs, until, watchdog};
use procession::{Error, LockError, Process, Queue, RLock, RLockGuard, StartMethod};
use std::thread;
use std::time::Duration;

// ---- taking it again ----

#[test]
fn the_thread_that_holds_it_may_lock_again() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (0, false));
    let mut guards = vec![
        lock.lock().unwrap(),
        lock.try_lock().unwrap(),
        lock.lock_timeout(Duration::ZERO).unwrap(),
        lock.clone()
            .lock()
            .map(RLockGuard::forget)
            .map(|()| lock.lock().unwrap())
            .unwrap(),
    ];
    assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (5, true));
    lock.release().unwrap();
    // Guards may be dropped in any order.
    drop(guards.remove(0));
    assert_eq!(lock.depth(), 3);
    drop(guards);
    assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (0, false));
    assert_eq!(lock.release(), Err(Error::NotLocked));
}

#[test]
fn another_thread_may_not() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let outer = lock.lock().unwrap();
    let inner = lock.lock().unwrap();
    let in_another =
        |question: fn(&RLock) -> bool| thread::scope(|scope| scope.spawn(|| question(&lock)).join().unwrap());
    assert!(in_another(|lock| matches!(
        lock.try_lock(),
        Err(LockError::WouldBlock)
    )));
    assert!(in_another(
        |lock| !lock.is_held_by_current_thread() && lock.depth() == 2
    ));
    assert!(in_another(|lock| lock.release() == Err(Error::NotLocked)));
    let timeout = Duration::from_millis(30);
    let late = thread::scope(|scope| {
        let other = scope.spawn(|| not_before(timeout, || lock.lock_timeout(timeout).map(drop).is_err()));
        other.join().unwrap()
    });
    assert!(late);
    drop(inner);
    assert!(
        in_another(|lock| lock.try_lock().is_err()),
        "released once of twice"
    );
    drop(outer);
    assert!(in_another(|lock| lock.try_lock().is_ok()));
}

#[test]
fn a_guard_dropped_by_another_thread_does_nothing() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| scope.spawn(|| drop(guard)).join().unwrap());
    assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (1, true));
    lock.release().unwrap();
    assert_eq!(lock.depth(), 0);
}

#[test]
fn a_waiter_gets_it() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let guards = [lock.lock().unwrap(), lock.lock().unwrap()];
    thread::scope(|scope| {
        let waiters = [(); 4].map(|()| scope.spawn(|| lock.lock().map(|_guard| lock.depth()).unwrap()));
        thread::sleep(A_WHILE);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        drop(guards);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), 1);
        }
    });
}

#[test]
fn it_shows_its_depth() {
    let lock = RLock::new().unwrap();
    let _guards = [lock.lock().unwrap(), lock.lock().unwrap()];
    assert!(format!("{lock:?}").contains('2'), "{lock:?}");
}

// ---- processes ----

fn pass_token(lock: RLock, token: Queue<u32>, times: u32) {
    for _ in 0..times {
        let _outer = lock.lock().unwrap();
        // No other process may have it, so it must be there.
        let n = token.try_get().unwrap();
        let inner = lock.lock().unwrap();
        assert_eq!(lock.depth(), 2);
        drop(inner);
        token.try_put(n + 1).unwrap();
    }
}

#[procession::test]
fn one_at_a_time_over_processes_and_threads() {
    let _watchdog = watchdog();
    let (lock, token) = (RLock::new().unwrap(), Queue::bounded(1).unwrap());
    token.put(0).unwrap();
    let processes = METHODS.map(|method| {
        let args = (lock.clone(), token.clone(), 3_000);
        Process::builder().method(method).spawn(pass_token, args).unwrap()
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pass_token(lock.clone(), token.clone(), 3_000));
        }
    });
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!((token.get().unwrap(), lock.depth()), (5 * 3_000, 0));
}

/// Returns the answers that a process gets that is not the holder.
fn try_everything(lock: RLock) -> (bool, bool, Option<Error>, usize) {
    let refused = matches!(lock.try_lock(), Err(LockError::WouldBlock));
    (
        refused,
        lock.is_held_by_current_thread(),
        lock.release().err(),
        lock.depth(),
    )
}

#[procession::test]
fn a_stranger_cannot_take_or_release_it() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let guards = [lock.lock().unwrap(), lock.lock().unwrap()];
    for method in METHODS {
        let stranger = Process::builder()
            .method(method)
            .spawn(try_everything, lock.clone())
            .unwrap();
        assert_eq!(stranger.join().unwrap(), (true, false, Some(Error::NotLocked), 2));
    }
    drop(guards);
    for method in METHODS {
        let stranger = Process::builder()
            .method(method)
            .spawn(try_everything, lock.clone())
            .unwrap();
        assert_eq!(
            stranger.join().unwrap(),
            (false, false, Some(Error::NotLocked), 0)
        );
    }
}

#[procession::test]
fn a_guard_copied_by_a_fork_is_empty() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let mut guard = Some(lock.lock().unwrap());
    // The child's thread is a copy of the parent's thread, but is another thread.
    let child = Process::fork(|| {
        drop(guard.take());
        (
            lock.is_held_by_current_thread(),
            lock.try_lock().is_err(),
            lock.release().is_err(),
            lock.depth(),
        )
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), (false, true, true, 1));
    assert!(lock.is_held_by_current_thread());
    drop(guard.take());
    assert_eq!(lock.depth(), 0);
}

// ---- the owner dies ----

fn hold_twice(lock: RLock, ready: Queue<()>, never: Queue<()>) {
    let _guards = [lock.lock().unwrap(), lock.lock().unwrap()];
    ready.put(()).unwrap();
    let _ = never.get();
}

/// Starts a process that holds `lock` twice until it is killed.
fn holder(lock: &RLock, method: StartMethod) -> Process<()> {
    let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let process = Process::builder()
        .method(method)
        .spawn(hold_twice, (lock.clone(), ready.clone(), never))
        .unwrap();
    ready.get().unwrap();
    assert_eq!(lock.depth(), 2);
    process
}

#[procession::test]
fn the_death_of_its_owner_is_told_once() {
    let _watchdog = watchdog();
    type Form = fn(&RLock) -> Result<RLockGuard<'_>, LockError<RLockGuard<'_>>>;
    let forms: [Form; 3] = [RLock::lock, RLock::try_lock, |lock| {
        lock.lock_timeout(Duration::from_secs(3_600))
    }];
    for method in METHODS {
        for form in forms {
            // Found by a later process, whether or not the end is known already.
            for known in [true, false] {
                let lock = RLock::new().unwrap();
                let process = holder(&lock, method);
                let pid = process.pid();
                process.kill().unwrap();
                if known {
                    process.wait().unwrap();
                } else {
                    until(|| !runs(pid));
                }
                match form(&lock) {
                    Err(LockError::OwnerDied { guard, pid: dead }) => {
                        assert!(dead == pid || dead == 0, "{dead} is not {pid}");
                        // The recursion count of the dead owner is reset.
                        assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (1, true));
                        let again = lock.lock().unwrap();
                        assert_eq!(lock.depth(), 2);
                        drop((guard, again));
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!(lock.depth(), 0);
                drop(lock.lock().unwrap());
            }
        }
    }
}

#[procession::test]
fn a_waiter_learns_of_the_death_of_the_owner() {
    let _watchdog = watchdog();
    for method in METHODS {
        let lock = RLock::new().unwrap();
        let process = holder(&lock, method);
        thread::scope(|scope| {
            let waiters = [(); 3].map(|()| {
                scope.spawn(|| match lock.lock() {
                    Ok(_) => 0,
                    Err(LockError::OwnerDied { .. }) => 1,
                    Err(error) => panic!("{error}"),
                })
            });
            thread::sleep(A_WHILE);
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
            process.kill().unwrap();
            assert_eq!(
                waiters.map(|waiter| waiter.join().unwrap()).iter().sum::<u32>(),
                1
            );
        });
        drop(lock.lock().unwrap());
    }
}
