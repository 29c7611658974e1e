//! The lock: exclusion, deadlines, release by another thread or process, and the death of its owner.

mod common;

use common::{A_WHILE, METHODS, not_before, until, watchdog};
use procession::{Error, Lock, LockError, LockGuard, Process, Queue, StartMethod};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

// ---- exclusion ----

/// Reads a number, lets other processes run, and writes the next number: without exclusion most of the work is lost.
fn count_in_file(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let number: u32 = text.parse().unwrap_or_else(|_| panic!("half written: {text:?}"));
    thread::yield_now();
    std::fs::write(file, (number + 1).to_string()).unwrap();
}

fn count(lock: Lock, file: PathBuf, times: u32) {
    for n in 0..times {
        let guard = match n % 3 {
            0 => lock.lock().unwrap(),
            1 => lock.lock_timeout(Duration::from_secs(3_600)).unwrap(),
            _ => loop {
                match lock.try_lock() {
                    Ok(guard) => break guard,
                    Err(LockError::WouldBlock) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            },
        };
        count_in_file(&file);
        drop(guard);
    }
}

#[procession::test]
fn one_at_a_time_over_processes_and_threads() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("count");
    std::fs::write(&file, "0").unwrap();
    let lock = Lock::new().unwrap();
    let processes: Vec<_> = METHODS
        .iter()
        .flat_map(|&method| [method; 2])
        .map(|method| {
            let args = (lock.clone(), file.clone(), 300);
            Process::builder().method(method).spawn(count, args).unwrap()
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| count(lock.clone(), file.clone(), 300));
        }
    });
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), (8 * 300).to_string());
    assert!(!lock.is_locked());
}

fn pass_token(lock: Lock, token: Queue<u32>, times: u32) {
    for _ in 0..times {
        let _guard = lock.lock().unwrap();
        // No other process may have it, so it must be there.
        let n = token.try_get().unwrap();
        token.try_put(n + 1).unwrap();
    }
}

#[procession::test]
fn what_it_protects_is_where_it_was_left() {
    let _watchdog = watchdog();
    let (lock, token) = (Lock::new().unwrap(), Queue::bounded(1).unwrap());
    token.put(0).unwrap();
    let processes = METHODS.map(|method| {
        let args = (lock.clone(), token.clone(), 5_000);
        Process::builder().method(method).spawn(pass_token, args).unwrap()
    });
    pass_token(lock, token.clone(), 5_000);
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!(token.get().unwrap(), 4 * 5_000);
}

// ---- without waiting, and with a deadline ----

#[test]
fn a_held_lock_is_refused_in_time() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    drop(lock.lock_timeout(Duration::ZERO).unwrap());
    drop(lock.lock_timeout(Duration::MAX).unwrap());
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked());
    let refused = lock.try_lock().unwrap_err();
    assert!(matches!(refused, LockError::WouldBlock), "{refused}");
    assert!(refused.into_guard().is_none());
    assert!(matches!(
        lock.lock_timeout(Duration::ZERO),
        Err(LockError::Timeout)
    ));
    for timeout in [1, 30, 120].map(Duration::from_millis) {
        let late = not_before(timeout, || lock.lock_timeout(timeout));
        assert!(matches!(late, Err(LockError::Timeout)));
    }
    assert_eq!(Error::from(lock.try_lock().unwrap_err()), Error::Timeout);
    drop(guard);
    assert!(!lock.is_locked());
    drop(lock.try_lock().unwrap());
}

#[test]
fn a_waiter_gets_it() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let waiters = [(); 4].map(|()| scope.spawn(|| lock.lock().map(drop).is_ok()));
        let patient = scope.spawn(|| lock.lock_timeout(Duration::from_secs(3_600)).map(drop).is_ok());
        thread::sleep(A_WHILE);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        drop(guard);
        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
        assert!(patient.join().unwrap());
    });
}

// ---- release by other threads and processes ----

fn release(lock: Lock) -> Result<(), Error> {
    lock.force_unlock()
}

#[procession::test]
fn any_process_can_release_it() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    assert_eq!(lock.force_unlock(), Err(Error::NotLocked));
    lock.lock().unwrap().forget();
    lock.force_unlock().unwrap();
    assert_eq!(lock.force_unlock(), Err(Error::NotLocked));

    lock.lock().unwrap().forget();
    thread::scope(|scope| scope.spawn(|| lock.force_unlock()).join().unwrap()).unwrap();
    assert!(!lock.is_locked());

    for method in METHODS {
        let start = || {
            Process::builder()
                .method(method)
                .spawn(release, lock.clone())
                .unwrap()
        };
        assert_eq!(start().join().unwrap(), Err(Error::NotLocked));
        lock.lock().unwrap().forget();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| lock.lock().map(drop).is_ok());
            thread::sleep(A_WHILE);
            assert!(!waiter.is_finished());
            assert_eq!(start().join().unwrap(), Ok(()));
            assert!(waiter.join().unwrap());
        });
    }
}

// ---- the owner dies ----

fn hold(lock: Lock, ready: Queue<()>, never: Queue<()>) {
    let _guard = lock.lock().unwrap();
    ready.put(()).unwrap();
    let _ = never.get();
}

/// Starts a process that holds `lock` until it is killed.
fn holder(lock: &Lock, method: StartMethod) -> Process<()> {
    let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let process = Process::builder()
        .method(method)
        .spawn(hold, (lock.clone(), ready.clone(), never))
        .unwrap();
    ready.get().unwrap();
    assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    process
}

/// Checks that the lock was taken over from `dead`, and works as usual afterwards.
fn inherited(lock: &Lock, dead: u32, taken: Result<LockGuard<'_>, LockError<LockGuard<'_>>>) {
    match taken {
        Err(LockError::OwnerDied { guard, pid }) => {
            assert!(pid == dead || pid == 0, "{pid} is not {dead}");
            assert!(lock.is_locked());
            assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
            drop(guard);
        }
        other => panic!("{other:?}"),
    }
    drop(lock.lock().unwrap());
    drop(lock.try_lock().unwrap());
    drop(lock.lock_timeout(Duration::ZERO).unwrap());
}

#[procession::test]
fn the_death_of_its_owner_is_told_once() {
    let _watchdog = watchdog();
    type Form = fn(&Lock) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>>;
    let forms: [Form; 3] = [Lock::lock, Lock::try_lock, |lock| {
        lock.lock_timeout(Duration::from_secs(3_600))
    }];
    for method in METHODS {
        for form in forms {
            // Found by a later process, whether or not the end is known already.
            for known in [true, false] {
                let lock = Lock::new().unwrap();
                let process = holder(&lock, method);
                let pid = process.pid();
                process.kill().unwrap();
                if known {
                    process.wait().unwrap();
                } else {
                    until(|| !common::runs(pid));
                }
                inherited(&lock, pid, form(&lock));
            }
        }
    }
}

#[procession::test]
fn a_waiter_learns_of_the_death_of_the_owner() {
    let _watchdog = watchdog();
    for method in METHODS {
        let lock = Lock::new().unwrap();
        let process = holder(&lock, method);
        let pid = process.pid();
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
            // One of them learns of the owner's death, although no process asks for its state.
            assert_eq!(
                waiters.map(|waiter| waiter.join().unwrap()).iter().sum::<u32>(),
                1
            );
        });
        drop(lock.lock().unwrap());
        assert_eq!(process.pid(), pid);
    }
}

fn wait_for_lock(lock: Lock, ready: Queue<()>) -> Option<u32> {
    ready.put(()).unwrap();
    match lock.lock() {
        Ok(_) => None,
        Err(LockError::OwnerDied { pid, .. }) => Some(pid),
        Err(error) => panic!("{error}"),
    }
}

#[procession::test]
fn another_process_learns_of_it_too() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (lock, ready) = (Lock::new().unwrap(), Queue::unbounded().unwrap());
        let process = holder(&lock, method);
        let waiter = Process::builder()
            .method(method)
            .spawn(wait_for_lock, (lock.clone(), ready.clone()))
            .unwrap();
        ready.get().unwrap();
        thread::sleep(A_WHILE);
        process.kill().unwrap();
        let told = waiter.join().unwrap().expect("the owner died");
        assert!(told == process.pid() || told == 0, "{told}");
    }
}

fn keep(lock: Lock) {
    lock.lock().unwrap().forget();
}

#[procession::test]
fn an_owner_that_ends_without_releasing_it_is_dead_too() {
    let _watchdog = watchdog();
    for method in METHODS {
        let lock = Lock::new().unwrap();
        let process = Process::builder()
            .method(method)
            .spawn(keep, lock.clone())
            .unwrap();
        let pid = process.pid();
        process.join().unwrap();
        inherited(&lock, pid, lock.lock());
    }
}

#[procession::test]
fn a_guard_taken_from_the_dead_is_a_guard() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    let process = holder(&lock, StartMethod::Fork);
    process.kill().unwrap();
    process.wait().unwrap();
    let error = lock.lock().unwrap_err();
    assert!(
        error.to_string().contains("died while it held the lock"),
        "{error}"
    );
    let guard = error.into_guard().unwrap();
    assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    drop(guard);
    drop(lock.try_lock().unwrap());
}

// ---- forked copies ----

#[procession::test]
fn a_guard_copied_by_a_fork_is_empty() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    let mut guard = Some(lock.lock().unwrap());
    let child = Process::fork(|| {
        drop(guard.take());
        (lock.is_locked(), lock.try_lock().is_err())
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), (true, true));
    assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    drop(guard.take());
    // The child's own guard does hold the lock.
    let child = Process::fork(|| {
        let guard = lock.lock().unwrap();
        let held = lock.is_locked();
        drop(guard);
        (held, lock.is_locked())
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), (true, false));
    drop(lock.try_lock().unwrap());
}

#[procession::test]
fn the_death_of_a_forked_copy_is_not_the_owners() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    let never = Queue::<()>::unbounded().unwrap();
    let child = Process::fork(|| never.get().is_ok()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lock.is_locked());
    assert!(matches!(lock.try_lock(), Err(LockError::WouldBlock)));
    drop(guard);
    drop(lock.lock().unwrap());
}

#[test]
fn it_names_its_holder() {
    let lock = Lock::new().unwrap();
    assert!(!format!("{lock:?}").contains("pid"));
    let guard = lock.lock().unwrap();
    let told = format!("{lock:?}");
    assert!(told.contains(&format!("(pid {})", std::process::id())), "{told}");
    drop(guard);
}
