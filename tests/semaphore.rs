//! The semaphore: its bound, deadlines, releases beyond the initial count, and permits that come back from dead
//! processes.

mod common;

use common::{A_WHILE, METHODS, not_before, runs, watchdog};
use procession::{Error, ObjectReport, Permit, Process, Queue, Semaphore, StartMethod};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

// ---- counting ----

#[test]
fn so_many_and_no_more() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::new(2).unwrap();
    let (first, second) = (semaphore.acquire().unwrap(), semaphore.try_acquire().unwrap());
    assert_eq!(semaphore.value(), 0);
    assert_eq!(semaphore.try_acquire().unwrap_err(), Error::Timeout);
    drop(first);
    assert_eq!(semaphore.value(), 1);
    let third = semaphore.acquire_timeout(Duration::ZERO).unwrap();
    assert!(!second.owner_died() && !third.owner_died());
    drop((second, third));
    assert_eq!(semaphore.value(), 2);
}

#[test]
fn a_deadline_does_not_come_early() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::new(0).unwrap();
    for timeout in [1, 30, 120].map(Duration::from_millis) {
        let late = not_before(timeout, || semaphore.acquire_timeout(timeout));
        assert_eq!(late.unwrap_err(), Error::Timeout);
    }
    semaphore.release().unwrap();
    semaphore.acquire_timeout(Duration::MAX).unwrap().forget();
}

#[test]
fn permits_can_be_added_but_not_to_a_bounded_one() {
    let semaphore = Semaphore::new(1).unwrap();
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 2);

    let bounded = Semaphore::bounded(2).unwrap();
    assert_eq!(bounded.release(), Err(Error::TooManyReleases { max: 2 }));
    bounded.acquire().unwrap().forget();
    bounded.release().unwrap();
    assert_eq!(bounded.release(), Err(Error::TooManyReleases { max: 2 }));
    assert_eq!(bounded.value(), 2);
    // Dropping a permit that was already released elsewhere does nothing.
    let permit = bounded.acquire().unwrap();
    bounded.release().unwrap();
    drop(permit);
    assert_eq!(bounded.value(), 2);
}

#[test]
fn the_largest_value() {
    let most = i32::MAX as usize;
    let full = Semaphore::new(most).unwrap();
    assert_eq!(full.value(), most);
    assert_eq!(full.release(), Err(Error::TooManyReleases { max: most as u64 }));
    for too_many in [most + 1, usize::MAX] {
        assert!(matches!(Semaphore::new(too_many), Err(Error::Capacity { .. })));
        assert!(matches!(
            Semaphore::bounded(too_many),
            Err(Error::Capacity { .. })
        ));
    }
}

#[test]
fn it_shows_its_value() {
    let semaphore = Semaphore::new(7).unwrap();
    assert!(format!("{semaphore:?}").contains('7'), "{semaphore:?}");
}

// ---- waiting ----

#[test]
fn a_waiter_gets_one() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::new(0).unwrap();
    thread::scope(|scope| {
        let waiters = [(); 4].map(|()| scope.spawn(|| semaphore.acquire().map(Permit::forget)));
        thread::sleep(A_WHILE);
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        // In a burst: all releases but the first find that a waiter was woken already.
        (0..4).for_each(|_| semaphore.release().unwrap());
        for waiter in waiters {
            waiter.join().unwrap().unwrap();
        }
    });
    assert_eq!(semaphore.value(), 0);
}

/// Lets each process inside put a mark into a queue, which has room as long as no more processes are inside than there
/// are permits.
fn come_and_go(semaphore: Semaphore, inside: Queue<()>, times: u32) {
    for n in 0..times {
        let permit = match n % 3 {
            0 => semaphore.acquire().unwrap(),
            1 => semaphore.acquire_timeout(Duration::from_secs(3_600)).unwrap(),
            _ => loop {
                match semaphore.try_acquire() {
                    Ok(permit) => break permit,
                    Err(Error::Timeout) => thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            },
        };
        inside.try_put(()).expect("room: two at most are inside");
        inside.try_get().unwrap();
        drop(permit);
    }
}

#[procession::test]
fn so_many_at_a_time_over_processes_and_threads() {
    let _watchdog = watchdog();
    let (semaphore, inside) = (Semaphore::bounded(2).unwrap(), Queue::bounded(2).unwrap());
    let processes = METHODS.map(|method| {
        let args = (semaphore.clone(), inside.clone(), 3_000);
        Process::builder()
            .method(method)
            .spawn(come_and_go, args)
            .unwrap()
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| come_and_go(semaphore.clone(), inside.clone(), 3_000));
        }
    });
    for process in processes {
        process.join().unwrap();
    }
    assert_eq!((semaphore.value(), inside.len()), (2, 0));
}

fn signal(semaphore: Semaphore, times: u32) {
    (0..times).for_each(|_| semaphore.release().unwrap());
}

#[procession::test]
fn one_that_starts_at_nothing_counts_events() {
    let _watchdog = watchdog();
    for method in METHODS {
        let semaphore = Semaphore::new(0).unwrap();
        let process = Process::builder()
            .method(method)
            .spawn(signal, (semaphore.clone(), 1_000))
            .unwrap();
        (0..1_000).for_each(|_| semaphore.acquire().unwrap().forget());
        process.join().unwrap();
        assert_eq!(semaphore.value(), 0);
    }
}

// ---- deaths ----

/// Takes a number of permits, and waits for ever.
fn take(semaphore: Semaphore, count: u32, ready: Queue<()>, never: Queue<()>) {
    (0..count).for_each(|_| semaphore.acquire().unwrap().forget());
    ready.put(()).unwrap();
    let _ = never.get();
}

/// Starts a process that has `count` permits until it is killed.
fn holder(semaphore: &Semaphore, count: u32, method: StartMethod) -> Process<()> {
    let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let process = Process::builder()
        .method(method)
        .spawn(take, (semaphore.clone(), count, ready.clone(), never))
        .unwrap();
    ready.get().unwrap();
    process
}

/// Acquires `count` permits, and returns how many of them are reported to be of dead processes.
fn told(semaphore: &Semaphore, count: usize) -> usize {
    let permits: Vec<_> = (0..count).map(|_| semaphore.acquire().unwrap()).collect();
    permits.iter().filter(|permit| permit.owner_died()).count()
}

#[procession::test]
fn the_permits_of_the_dead_come_back_and_are_reported() {
    let _watchdog = watchdog();
    for method in METHODS {
        for make in [Semaphore::new, Semaphore::bounded] {
            for count in 1..=3 {
                let semaphore = make(3).unwrap();
                let process = holder(&semaphore, count, method);
                assert_eq!(semaphore.value(), 3 - count as usize);
                process.kill().unwrap();
                process.wait().unwrap();
                assert_eq!(semaphore.value(), 3);
                assert_eq!(
                    told(&semaphore, 3),
                    count as usize,
                    "as often as there were permits"
                );
                assert_eq!(told(&semaphore, 3), 0, "and not again");
            }
        }
    }
}

#[procession::test]
fn a_waiter_gets_the_permit_of_a_holder_that_dies() {
    let _watchdog = watchdog();
    for method in METHODS {
        let semaphore = Semaphore::bounded(1).unwrap();
        let process = holder(&semaphore, 1, method);
        thread::scope(|scope| {
            let waiters = [(); 3].map(|()| scope.spawn(|| semaphore.acquire().unwrap().owner_died()));
            thread::sleep(A_WHILE);
            assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
            process.kill().unwrap();
            // No process asks for its state.
            let told = waiters.map(|waiter| waiter.join().unwrap());
            assert_eq!(told.iter().filter(|&&told| told).count(), 1);
        });
        assert_eq!(semaphore.value(), 1);
    }
}

fn keep(semaphore: Semaphore) {
    semaphore.acquire().unwrap().forget();
}

fn keep_and_exit(semaphore: Semaphore, code: i32) {
    semaphore.acquire().unwrap().forget();
    std::process::exit(code);
}

/// Checks that the permits of a process that has ended stay taken, and that another process can release them.
#[procession::test]
fn what_a_holder_has_that_ends_in_an_orderly_way_stays_taken() {
    let _watchdog = watchdog();
    for method in METHODS {
        let semaphore = Semaphore::bounded(2).unwrap();
        let builder = || Process::builder().method(method);
        builder().spawn(keep, semaphore.clone()).unwrap().join().unwrap();
        for code in [0, 3] {
            assert_eq!(semaphore.value(), 1, "not given back");
            semaphore.release().unwrap();
            let ended = builder().spawn(keep_and_exit, (semaphore.clone(), code)).unwrap();
            ended.wait().unwrap();
        }
        assert_eq!(semaphore.value(), 1);
        semaphore.release().unwrap();
        assert_eq!(told(&semaphore, 2), 0, "nobody has died with one");
    }
}

#[procession::test]
fn the_events_that_the_dead_took_or_gave_stay_so() {
    let _watchdog = watchdog();
    for method in METHODS {
        let semaphore = Semaphore::new(0).unwrap();
        (0..3).for_each(|_| semaphore.release().unwrap());
        let process = holder(&semaphore, 2, method);
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(semaphore.value(), 1, "what was taken is taken");
        assert!(!semaphore.acquire().unwrap().owner_died());

        // If more permits were added than there were in the beginning, the extra permits count as events too.
        let semaphore = Semaphore::new(1).unwrap();
        (0..3).for_each(|_| semaphore.release().unwrap());
        let process = holder(&semaphore, 2, method);
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!((semaphore.value(), told(&semaphore, 2)), (2, 0));

        // Permits that a process released beyond those it took are not taken back.
        let semaphore = Semaphore::new(1).unwrap();
        let giver = Process::builder()
            .method(method)
            .spawn(signal, (semaphore.clone(), 4))
            .unwrap();
        giver.join().unwrap();
        assert_eq!((semaphore.value(), told(&semaphore, 5)), (5, 0));
    }
}

/// Acquires through one handle and releases through another.
fn by_two_handles(first: Semaphore, second: Semaphore, ready: Queue<()>, never: Queue<()>) {
    first.acquire().unwrap().forget();
    second.release().unwrap();
    ready.put(()).unwrap();
    let _ = never.get();
}

#[procession::test]
fn it_does_not_matter_through_which_handle() {
    let _watchdog = watchdog();
    for method in METHODS {
        let semaphore = Semaphore::bounded(2).unwrap();
        let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let args = (semaphore.clone(), semaphore.clone(), ready.clone(), never);
        let process = Process::builder()
            .method(method)
            .spawn(by_two_handles, args)
            .unwrap();
        ready.get().unwrap();
        let mine = semaphore.acquire().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // It had none: all missing permits are this process's own.
        assert_eq!(semaphore.value(), 1);
        drop(mine);
        assert_eq!((semaphore.value(), told(&semaphore, 2)), (2, 0));
    }
}

// ---- a semaphore that one process uses alone ----

/// As many acquires as bias the semaphore, and more that use the bias.
const ALONE: u32 = 100;

fn take_and_give_back(semaphore: &Semaphore, times: u32) {
    (0..times).for_each(|_| drop(semaphore.acquire().unwrap()));
}

/// Uses the semaphore alone, then takes a number of permits and waits for ever.
fn alone(semaphore: Semaphore, count: u32, ready: Queue<()>, never: Queue<()>) {
    take_and_give_back(&semaphore, ALONE);
    take(semaphore, count, ready, never);
}

#[procession::test]
fn what_one_has_that_was_alone_is_known_and_comes_back() {
    // No other test has a semaphore with this many permits.
    const ALL: usize = 11;
    let _watchdog = watchdog();
    for method in METHODS {
        for count in [0, 1, ALL] {
            let semaphore = Semaphore::bounded(ALL).unwrap();
            let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
            let args = (semaphore.clone(), count as u32, ready.clone(), never);
            let process = Process::builder().method(method).spawn(alone, args).unwrap();
            ready.get().unwrap();
            assert_eq!(semaphore.value(), ALL - count);

            let seen = procession::inspect().unwrap();
            let user = |object: &ObjectReport, pid| object.users.iter().find(|user| user.pid == pid).cloned();
            // A child of another test may have inherited an earlier one.
            let ours = seen.objects.iter().find(|object| {
                object.figures.contains(&("most", ALL as u64)) && user(object, process.pid()).is_some()
            });
            let has = |pid| user(ours.unwrap(), pid).unwrap().has;
            let (theirs, own) = (has(process.pid()), has(std::process::id()));
            assert_eq!((theirs, own), (count as i64, 0), "{seen}");

            if count < ALL {
                // Another process uses the semaphore.
                take_and_give_back(&semaphore, 1);
            }
            process.kill().unwrap();
            process.wait().unwrap();
            assert_eq!((semaphore.value(), told(&semaphore, ALL)), (ALL, count));
            assert_eq!(
                semaphore.release(),
                Err(Error::TooManyReleases { max: ALL as u64 })
            );
        }
    }
}

#[procession::test]
fn a_biased_process_keeps_its_permits_without_its_handle() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::bounded(3).unwrap();
    let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let process = Process::fork({
        let (semaphore, ready, never): (_, Queue<()>, Queue<()>) =
            (semaphore.clone(), ready.clone(), never.clone());
        move || {
            take_and_give_back(&semaphore, ALONE);
            semaphore.acquire().unwrap().forget();
            drop(semaphore);
            // Other objects reuse the memory of that handle's objects.
            let _others = [(); 100].map(|()| Semaphore::bounded(7).unwrap());
            ready.put(()).unwrap();
            let _ = never.get();
        }
    })
    .unwrap();
    ready.get().unwrap();
    assert_eq!(semaphore.value(), 2);
    take_and_give_back(&semaphore, 2 * ALONE);
    assert_eq!(semaphore.value(), 2);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!((semaphore.value(), told(&semaphore, 3)), (3, 1));
}

#[procession::test]
fn a_biased_process_is_killed_at_any_moment() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::bounded(3).unwrap();
    for round in 0..200 {
        let process = Process::fork({
            let semaphore = semaphore.clone();
            move || {
                for times in 0.. {
                    let _outer = semaphore.acquire().unwrap();
                    take_and_give_back(&semaphore, times % 7);
                }
            }
        })
        .unwrap();
        thread::sleep(Duration::from_micros(37 * (round % 50)));
        if round % 2 == 0 {
            take_and_give_back(&semaphore, 1);
        }
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(told(&semaphore, 3) <= 2);
        assert_eq!((semaphore.value(), told(&semaphore, 3)), (3, 0));
        assert_eq!(semaphore.release(), Err(Error::TooManyReleases { max: 3 }));
    }
}

#[test]
fn threads_alone_with_it_are_as_many_as_there_are_permits() {
    let _watchdog = watchdog();
    let (semaphore, inside) = (Semaphore::bounded(2).unwrap(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let permit = semaphore.acquire().unwrap();
                    assert!(inside.fetch_add(1, Ordering::Relaxed) < 2);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(semaphore.value(), 2);
    assert_eq!(semaphore.release(), Err(Error::TooManyReleases { max: 2 }));
}

// ---- forks ----

#[procession::test]
fn a_permit_copied_by_a_fork_is_empty() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::bounded(2).unwrap();
    let mut permit = Some(semaphore.acquire().unwrap());
    let child = Process::fork(|| {
        drop(permit.take());
        // Its own permits are returned.
        let own = semaphore.acquire().unwrap();
        let values = (semaphore.value(), semaphore.try_acquire().is_err());
        drop(own);
        values
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), (0, true));
    assert_eq!(semaphore.value(), 1);
    drop(permit.take());
    assert_eq!(semaphore.value(), 2);
}

#[procession::test]
fn the_death_of_a_forked_copy_is_not_the_holders() {
    let _watchdog = watchdog();
    let semaphore = Semaphore::bounded(2).unwrap();
    let permit = semaphore.acquire().unwrap();
    let never = Queue::<()>::unbounded().unwrap();
    let child = Process::fork(|| never.get().is_ok()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(semaphore.value(), 1);
    drop(permit);
    assert_eq!((semaphore.value(), told(&semaphore, 2)), (2, 0));
}

#[procession::test]
fn forks_while_threads_come_and_go() {
    let _watchdog = watchdog();
    let (semaphore, inside, stop) = (
        Semaphore::bounded(2).unwrap(),
        Queue::bounded(2).unwrap(),
        Queue::<()>::unbounded().unwrap(),
    );
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while stop.is_empty() {
                    come_and_go(semaphore.clone(), inside.clone(), 100);
                }
            });
        }
        for n in 0..40 {
            // Half of the children die with a permit. Permits that threads had at the fork are not the child's.
            let child = Process::fork(|| {
                let permit = semaphore.acquire().unwrap();
                if n % 2 == 0 {
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                        .unwrap();
                }
                drop(permit);
            })
            .unwrap();
            let pid = child.pid();
            let ended = child.wait().unwrap();
            assert!(!runs(pid) && ended.success() == (n % 2 == 1), "{ended:?}");
        }
        stop.put(()).unwrap();
    });
    assert_eq!(semaphore.value(), 2);
}
