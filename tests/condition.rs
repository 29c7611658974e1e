//! The condition: which threads are woken and which are not, deadlines, several conditions with one lock, and deaths of
//! waiters, notifiers and holders.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{A_WHILE, METHODS, not_before, processes, until, watchdog};
use procession::{Condition, Error, Event, Lock, LockError, Process, Queue, RLock};
use random::{Random, long};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// A timeout that is longer than any test takes; it is an error if it passes.
const LONG: Duration = Duration::from_secs(3_600);

// ---- which threads are woken ----

#[test]
fn as_many_as_asked_for_and_first_come_first_served() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    let woken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for n in 0..9 {
            let (condition, woken) = (&condition, &woken);
            scope.spawn(move || {
                let mut guard = condition.lock().unwrap();
                guard.wait().unwrap();
                woken.lock().unwrap().push(n);
            });
            until(|| condition.waiting() == n + 1);
        }
        let mut expected = 0;
        for (asked, answer) in [(0, 0), (1, 1), (3, 3), (2, 2), (7, 3), (1, 0)] {
            assert_eq!(condition.lock().unwrap().notify(asked), answer);
            expected += answer;
            until(|| woken.lock().unwrap().len() == expected);
            thread::sleep(A_WHILE);
            let mut seen = woken.lock().unwrap().clone();
            seen.sort_unstable();
            assert_eq!(
                seen,
                (0..expected).collect::<Vec<_>>(),
                "the first ones, and no more"
            );
            assert_eq!(condition.waiting(), 9 - expected);
        }
    });
}

#[test]
fn all_and_none_are_notified() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    condition.lock().unwrap().notify_all();
    condition.lock().unwrap().notify_one();
    thread::scope(|scope| {
        // More than one transaction is needed to notify them.
        let waiters: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| condition.lock().unwrap().wait()))
            .collect();
        until(|| condition.waiting() == 40);
        // Earlier notifications do not reach them.
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        condition.lock().unwrap().notify_all();
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
    });
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn a_deadline_does_not_come_early_and_leaves_the_line() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    let mut guard = condition.lock().unwrap();
    for timeout in [0, 1, 30, 120].map(Duration::from_millis) {
        let late = not_before(timeout, || guard.wait_timeout(timeout));
        assert_eq!((late, condition.waiting()), (Err(Error::Timeout), 0));
        assert!(
            matches!(condition.try_lock(), Err(LockError::WouldBlock)),
            "it is held again"
        );
    }
    let never = not_before(A_WHILE, || guard.wait_for_timeout(|| false, A_WHILE));
    assert_eq!(never, Err(Error::Timeout));
    assert_eq!(guard.wait_for_timeout(|| true, Duration::ZERO), Ok(()));
    assert_eq!(guard.notify(1), 0, "a notification that nobody takes is gone");
    assert_eq!(guard.wait_timeout(A_WHILE), Err(Error::Timeout));
}

#[test]
fn a_predicate_is_asked_after_every_notification() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    let value = Mutex::new(0);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut guard = condition.lock().unwrap();
            guard.wait_for(|| *value.lock().unwrap() >= 3)?;
            guard.wait_for_timeout(|| *value.lock().unwrap() >= 5, LONG)
        });
        for n in 1..=5 {
            until(|| condition.waiting() == 1);
            let guard = condition.lock().unwrap();
            *value.lock().unwrap() = n;
            guard.notify_all();
        }
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn several_share_a_lock() {
    let _watchdog = watchdog();
    let lock = Lock::new().unwrap();
    let [full, empty] = [(); 2].map(|()| Condition::with_lock(&lock).unwrap());
    thread::scope(|scope| {
        let [one, other] = [&full, &empty].map(|condition| scope.spawn(|| condition.lock().unwrap().wait()));
        until(|| full.waiting() == 1 && empty.waiting() == 1);
        let guard = full.lock().unwrap();
        assert!(lock.try_lock().is_err() && empty.try_lock().is_err());
        guard.notify_all();
        drop(guard);
        one.join().unwrap().unwrap();
        assert_eq!((empty.waiting(), other.is_finished()), (1, false));
        empty.lock().unwrap().notify_all();
        other.join().unwrap().unwrap();
    });
}

#[test]
fn a_recursive_lock_is_given_up_altogether_and_taken_as_often() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let condition = Condition::with_rlock(&lock).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let (outer, inner) = (lock.lock().unwrap(), lock.lock().unwrap());
            let mut guard = condition.lock().unwrap();
            assert_eq!(lock.depth(), 3);
            guard.wait().unwrap();
            assert_eq!((lock.depth(), lock.is_held_by_current_thread()), (3, true));
            drop((guard, inner));
            assert_eq!(lock.depth(), 1);
            drop(outer);
        });
        until(|| condition.waiting() == 1);
        assert_eq!(condition.lock_timeout(LONG).unwrap().notify(5), 1);
        waiter.join().unwrap();
    });
    assert_eq!(lock.depth(), 0);
    // A thread that does not hold the lock cannot wait, not even with another thread's guard.
    let mut guard = condition.lock().unwrap();
    let refused = thread::scope(|scope| scope.spawn(|| guard.wait_timeout(Duration::ZERO)).join().unwrap());
    assert_eq!(refused, Err(Error::NotLocked));
}

#[test]
fn it_shows_the_waiters() {
    let condition = Condition::new().unwrap();
    let shown = format!("{condition:?}");
    assert!(shown.contains("waiting: 0") && shown.contains("Lock"), "{shown}");
}

#[test]
fn inspection_shows_the_waiters() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| condition.lock().unwrap().wait());
        until(|| condition.waiting() == 1);
        let waits = || procession::inspect().unwrap().waits;
        until(|| {
            waits()
                .iter()
                .any(|wait| wait.what == "condition" && wait.kind == "condition")
        });
        condition.lock().unwrap().notify_all();
    });
}

// ---- processes ----

/// Takes turns with another process: adds one to the counter whenever its parity is `parity`.
fn take_turns(condition: Condition, counter: Queue<u32>, parity: u32, end: u32) {
    let mut guard = condition.lock().unwrap();
    loop {
        let mut turn = 0;
        let look = || {
            turn = counter.try_get().unwrap();
            counter.put(turn).unwrap();
            turn % 2 == parity || turn >= end
        };
        guard.wait_for(look).unwrap();
        if turn >= end {
            return;
        }
        counter.get().unwrap();
        counter.put(turn + 1).unwrap();
        guard.notify_all();
    }
}

#[procession::test]
fn processes_take_turns() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (condition, counter) = (Condition::new().unwrap(), Queue::unbounded().unwrap());
        counter.put(0).unwrap();
        let args = (condition.clone(), counter.clone(), 1, 1_000);
        let other = Process::builder().method(method).spawn(take_turns, args).unwrap();
        take_turns(condition, counter.clone(), 0, 1_000);
        other.join().unwrap();
        assert_eq!(counter.get(), Ok(1_000));
    }
}

#[procession::test]
fn it_travels_through_queues() {
    let _watchdog = watchdog();
    let road = Queue::unbounded().unwrap();
    let lock = RLock::new().unwrap();
    let condition = Condition::with_rlock(&lock).unwrap();
    road.put(condition.clone()).unwrap();
    let same = road.get().unwrap();
    let _guard = same.lock().unwrap();
    assert!(lock.is_held_by_current_thread());
}

// ---- deaths ----

/// Waits, and reports when it has been notified.
fn wait_once(condition: Condition, woken: Queue<u32>) {
    let mut guard = condition.lock().unwrap();
    guard.wait().unwrap();
    woken.put(std::process::id()).unwrap();
}

#[procession::test]
fn a_dead_waiter_takes_no_notification() {
    let _watchdog = watchdog();
    for method in METHODS {
        for reaped in [true, false] {
            let (condition, woken) = (Condition::new().unwrap(), Queue::unbounded().unwrap());
            let args = (condition.clone(), woken.clone());
            let first = Process::builder()
                .method(method)
                .spawn(wait_once, args.clone())
                .unwrap();
            until(|| condition.waiting() == 1);
            let second = Process::builder().method(method).spawn(wait_once, args).unwrap();
            until(|| condition.waiting() == 2);
            first.kill().unwrap();
            if reaped {
                first.wait().unwrap();
                assert_eq!(condition.waiting(), 1);
            }
            assert_eq!(condition.lock().unwrap().notify(1), 1);
            assert_eq!(woken.get(), Ok(second.pid()));
            second.join().unwrap();
            assert_eq!(condition.waiting(), 0);
        }
    }
}

#[procession::test]
fn a_notification_of_a_waiter_that_dies_goes_to_the_next() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (condition, woken) = (Condition::new().unwrap(), Queue::unbounded().unwrap());
        let args = (condition.clone(), woken.clone());
        let start = || {
            Process::builder()
                .method(method)
                .spawn(wait_once, args.clone())
                .unwrap()
        };
        let first = start();
        until(|| condition.waiting() == 1);
        let second = start();
        until(|| condition.waiting() == 2);
        let guard = condition.lock().unwrap();
        assert_eq!(guard.notify(1), 1);
        // The waiter is notified, and cannot go on while the lock is held here.
        thread::sleep(A_WHILE);
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(condition.waiting(), 0, "the call has been passed on");
        drop(guard);
        assert_eq!(woken.get(), Ok(second.pid()));
        second.join().unwrap();
    }
}

#[procession::test]
fn a_notification_does_not_go_to_a_later_waiter() {
    let _watchdog = watchdog();
    let (condition, woken) = (Condition::new().unwrap(), Queue::unbounded().unwrap());
    let first = Process::spawn(wait_once, (condition.clone(), woken.clone())).unwrap();
    until(|| condition.waiting() == 1);
    // The process is stopped in its sleep: it is notified, and cannot go on.
    thread::sleep(A_WHILE);
    let pid = first.pid() as i32;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    until(|| {
        processes()
            .iter()
            .any(|seen| seen.pid == pid && seen.state == 'T')
    });
    let mut guard = condition.lock().unwrap();
    guard.notify_one();
    thread::scope(|scope| {
        let killer = scope.spawn(|| {
            until(|| condition.waiting() == 1);
            first.kill().unwrap();
            first.wait().unwrap();
        });
        assert_eq!(guard.wait_timeout(10 * A_WHILE), Err(Error::Timeout));
        killer.join().unwrap();
    });
    assert!(woken.is_empty());
}

fn die_holding(condition: Condition, ready: Event) {
    let guard = condition.lock().unwrap();
    guard.notify_all();
    ready.set();
    core::mem::forget(guard);
    thread::sleep(LONG);
}

#[procession::test]
fn a_waiter_that_relocks_after_a_death_learns_of_it_and_has_the_lock() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (condition, ready) = (Condition::new().unwrap(), Event::new().unwrap());
        let mut guard = condition.lock().unwrap();
        let args = (condition.clone(), ready.clone());
        let holder = Process::builder()
            .method(method)
            .spawn(die_holding, args)
            .unwrap();
        let pid = holder.pid();
        let killer = thread::spawn(move || {
            ready.wait().unwrap();
            holder.kill().unwrap();
            holder
        });
        match guard.wait() {
            Err(Error::OwnerDied { pid: told }) => assert!(told == pid || told == 0),
            other => panic!("{other:?}"),
        }
        assert!(condition.try_lock().is_err(), "it is held");
        drop(guard);
        drop(condition.lock().expect("the next one is not told"));
        drop(killer.join().unwrap());
    }
}

/// Passes tokens around: takes a token when there is one, and puts it back.
fn juggle(condition: Condition, tokens: Queue<u32>) {
    loop {
        let mut guard = match condition.lock() {
            Ok(guard) => guard,
            Err(error) => error.into_guard().unwrap(),
        };
        match guard.wait_for(|| !tokens.is_empty()) {
            Ok(()) | Err(Error::OwnerDied { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if let Ok(token) = tokens.try_get() {
            tokens.put(token + 1).unwrap();
        }
        guard.notify_one();
        if tokens.len() > 1 {
            guard.notify_all();
        }
        drop(guard);
        thread::yield_now();
    }
}

#[procession::test]
fn random_deaths_leave_it_whole() {
    let _watchdog = watchdog();
    let mut random = Random::new(4);
    let (condition, tokens) = (Condition::new().unwrap(), Queue::unbounded().unwrap());
    tokens.put(0).unwrap();
    let start = || {
        let juggler = (condition.clone(), tokens.clone());
        Process::builder()
            .method(procession::StartMethod::ForkServer)
            .spawn(juggle, juggler)
            .unwrap()
    };
    let mut jugglers: Vec<_> = (0..3).map(|_| start()).collect();
    for _ in 0..long(300) {
        thread::sleep(Duration::from_micros(random.below(4_000)));
        let victim = jugglers.swap_remove(random.below(3) as usize);
        victim.kill().unwrap();
        victim.wait().unwrap();
        jugglers.push(start());
        // A token may have died with its holder.
        if tokens.is_empty() {
            let guard = condition
                .lock()
                .or_else(|error| error.into_guard().ok_or(()))
                .unwrap();
            if tokens.is_empty() {
                tokens.put(0).unwrap();
            }
            guard.notify_all();
        }
    }
    for juggler in &jugglers {
        juggler.kill().unwrap();
        juggler.wait().unwrap();
    }
    assert_eq!(condition.waiting(), 0);
    let mut guard = condition
        .lock()
        .or_else(|error| error.into_guard().ok_or(()))
        .unwrap();
    assert_eq!(guard.wait_timeout(A_WHILE), Err(Error::Timeout));
}

// ---- forks ----

#[procession::test]
fn a_guard_copied_by_a_fork_is_empty() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    let mut guard = Some(condition.lock().unwrap());
    let child = Process::fork(|| {
        let refused = guard.as_mut().unwrap().wait();
        drop(guard.take());
        (refused, condition.try_lock().is_err())
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), (Err(Error::NotLocked), true));
    drop(guard.take());
    drop(condition.try_lock().unwrap());
}

#[procession::test]
fn a_forked_child_waits_for_itself() {
    let _watchdog = watchdog();
    let condition = Condition::new().unwrap();
    // This thread has its own record, which is not the child's.
    assert_eq!(
        condition.lock().unwrap().wait_timeout(A_WHILE),
        Err(Error::Timeout)
    );
    thread::scope(|scope| {
        let waiter = scope.spawn(|| condition.lock().unwrap().wait());
        until(|| condition.waiting() == 1);
        let other = condition.clone();
        let child = Process::fork(move || other.lock().unwrap().wait()).unwrap();
        until(|| condition.waiting() == 2);
        condition.lock().unwrap().notify_one();
        waiter.join().unwrap().unwrap();
        condition.lock().unwrap().notify_one();
        child.join().unwrap().unwrap();
    });
}
