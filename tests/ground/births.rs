//! Which children are processes of the program: children that get no entry, that never start, that no process reaps,
//! that are late.

use crate::common::{METHODS, alone, alone_with, watchdog};
use crate::place::{
    LATE, LITTLE, SMALL, Teller, by_bare_clone, by_hand, children_wait, comes_true,
    comes_true_looking_around, fill, is_gone, large_queue, reap, refuse_forks, resident, signal, skipped,
    try_by_hand,
};
use procession::{
    ByteQueue, Error, JoinableQueue, Lock, Process, Queue, Semaphore, StartMethod, inspect, pipe_one_way,
};
use std::time::Duration;

/// Checks that each child has its own entry, or gets an error that it has none: every message is there once.
#[procession::test]
fn what_children_of_a_full_program_put_arrives() {
    let _watchdog = watchdog();
    alone_with(
        "births::what_children_of_a_full_program_put_arrives",
        &SMALL,
        || {
            const CHILDREN: u64 = 16;
            const COUNT: u64 = 4_000;
            let work = Queue::<(u64, u64)>::unbounded().unwrap();
            let full = ByteQueue::unbounded().unwrap();
            fill(&full);
            let (told, go) = (Teller::new(), Teller::new());
            let child = |k: u64| {
                go.hear();
                let put = (0..COUNT).find(|&n| work.put((k, n)).is_err()).unwrap_or(COUNT);
                told.tell(&[k, put]);
            };
            let pids: Vec<_> = (0..CHILDREN).map(|k| by_hand(|| child(k))).collect();
            while full.try_get().is_ok() {}
            go.tell(&[0; CHILDREN as usize]);
            let mut expected = vec![0; CHILDREN as usize];
            for _ in 0..CHILDREN {
                let k = told.hear().expect("every child ends");
                expected[k as usize] = told.hear().unwrap();
            }
            let mut arrived: Vec<Vec<u64>> = vec![Vec::new(); CHILDREN as usize];
            while let Ok((k, n)) = work.get_timeout(Duration::from_millis(500)) {
                arrived[k as usize].push(n);
            }
            let counts: Vec<_> = arrived.iter().map(|all| all.len() as u64).collect();
            assert_eq!(counts, expected, "arrived, and put returned so often");
            assert!(
                arrived.iter().all(|all| all.is_sorted_by(|one, next| one < next)),
                "in order, and once"
            );
            assert!(pids.into_iter().all(|pid| reap(pid) == 0));
        },
    );
}

/// Checks a child that the fork handlers do not see: it gets an error, and changes nothing.
#[procession::test]
fn a_child_of_a_bare_clone_can_use_nothing() {
    let _watchdog = watchdog();
    alone("births::a_child_of_a_bare_clone_can_use_nothing", || {
        let queue = Queue::<u64>::unbounded().unwrap();
        let (lock, permits) = (Lock::new().unwrap(), Semaphore::new(1).unwrap());
        let held = Lock::new().unwrap();
        let _guard = held.lock().unwrap();
        let [plain, tracked] = [(); 2].map(|()| JoinableQueue::<u64>::unbounded().unwrap());
        tracked.track_consumers();
        for work in [&plain, &tracked] {
            work.put(1).unwrap();
            work.get().unwrap();
        }
        let told = Teller::new();
        let pid = by_bare_clone(|| {
            let answers = [
                queue.put(1).is_err(),
                queue.try_get() == Err(Error::NoIdentity),
                lock.lock().is_err(),
                permits.acquire().is_err(),
                permits.release().is_err(),
                Lock::new().is_err(),
                lock.force_unlock() == Err(Error::NoIdentity),
                held.force_unlock() == Err(Error::NoIdentity),
                plain.task_done() == Err(Error::NoIdentity),
                tracked.task_done() == Err(Error::NoIdentity),
                tracked.try_get() == Err(Error::NoIdentity),
            ];
            told.tell(&answers.map(u64::from));
        });
        for operation in 0..11 {
            assert_eq!(told.hear(), Some(1), "operation {operation}");
        }
        reap(pid);
        assert!(held.is_locked());
        assert_eq!((plain.unfinished(), tracked.unfinished()), (1, 1));
        queue.put(2).unwrap();
        assert_eq!(queue.try_get(), Ok(2));
        assert_eq!(permits.value(), 1);
        drop(lock.try_lock().unwrap());
    });
}

#[procession::test]
fn a_failed_fork_leaves_nothing() {
    let _watchdog = watchdog();
    alone("births::a_failed_fork_leaves_nothing", || {
        let queue = large_queue();
        let (reader, writer) = pipe_one_way::<u32>().unwrap();
        if !refuse_forks() {
            return skipped("no filters of system calls");
        }
        for _ in 0..20 {
            assert!(try_by_hand(|| ()).is_err());
            assert!(matches!(Process::fork(|| ()), Err(Error::Os { .. })));
        }
        drop((queue, writer));
        comes_true_looking_around(|| resident() <= LITTLE && reader.try_recv() == Err(Error::Disconnected));
        let mib = resident() >> 20;
        assert!(resident() <= LITTLE, "{mib} MiB after the queue was dropped");
        assert_eq!(
            reader.try_recv(),
            Err(Error::Disconnected),
            "nobody has the other end"
        );
        assert_eq!(inspect().unwrap().processes.len(), 1);
    });
}

/// Checks a program that forks again and again while forks fail: later starts succeed.
#[procession::test]
fn failed_forks_do_not_use_up_the_table() {
    let _watchdog = watchdog();
    alone("births::failed_forks_do_not_use_up_the_table", || {
        let _lock = Lock::new().unwrap();
        if !refuse_forks() {
            return skipped("no filters of system calls");
        }
        for _ in 0..33_000 {
            assert!(try_by_hand(|| ()).is_err());
        }
        let process = Process::builder().method(StartMethod::Spawn).spawn(|| 1, ());
        assert_eq!(process.and_then(Process::join), Ok(1));
    });
}

#[procession::test]
fn a_child_killed_before_it_ran_is_dead() {
    let _watchdog = watchdog();
    alone("births::a_child_killed_before_it_ran_is_dead", || {
        let queue = large_queue();
        let (reader, writer) = pipe_one_way::<u32>().unwrap();
        children_wait(true);
        for _ in 0..3 {
            let pid = by_hand(|| ());
            signal(pid, libc::SIGKILL);
            reap(pid);
        }
        drop((queue, writer));
        comes_true_looking_around(|| resident() <= LITTLE && reader.try_recv() == Err(Error::Disconnected));
        let mib = resident() >> 20;
        assert!(resident() <= LITTLE, "{mib} MiB after the queue was dropped");
        assert_eq!(
            reader.try_recv(),
            Err(Error::Disconnected),
            "nobody has the other end"
        );
        assert_eq!(inspect().unwrap().processes.len(), 1);
    });
}

#[procession::test]
fn starting_and_killing_at_once() {
    let _watchdog = watchdog();
    alone("births::starting_and_killing_at_once", || {
        let queue = large_queue();
        for method in METHODS {
            for _ in 0..5 {
                let child = Process::builder()
                    .method(method)
                    .spawn(std::thread::park, ())
                    .unwrap();
                child.kill().unwrap();
                assert!(child.join().is_err());
            }
        }
        drop(queue);
        assert!(
            comes_true_looking_around(|| resident() <= LITTLE),
            "{} MiB after the queue was dropped",
            resident() >> 20
        );
        assert!(comes_true(|| inspect().unwrap().processes.len() <= 2));
    });
}

/// Checks a server that forks and reaps a child for each request, and in which no thread ever waits for an object.
#[procession::test]
fn a_program_that_only_forks_clears_up_after_the_dead() {
    let _watchdog = watchdog();
    alone(
        "births::a_program_that_only_forks_clears_up_after_the_dead",
        || {
            let queue = large_queue();
            for _ in 0..50 {
                reap(by_hand(|| ()));
            }
            drop(queue);
            for _ in 0..200 {
                reap(by_hand(|| ()));
            }
            assert!(
                resident() <= LITTLE,
                "{} MiB: 50 dead children hold a queue that was dropped",
                resident() >> 20
            );
        },
    );
}

/// More children than the table has entries.
#[procession::test]
fn a_program_that_forks_forty_thousand_children_by_hand_goes_on() {
    let _watchdog = watchdog();
    if std::env::var_os("PROCESSION_LONG").is_none() {
        return skipped("takes half a minute: PROCESSION_LONG=1");
    }
    alone(
        "births::a_program_that_forks_forty_thousand_children_by_hand_goes_on",
        || {
            let queue = Queue::<u64>::unbounded().unwrap();
            for _ in 0..40_000 {
                reap(by_hand(|| ()));
            }
            let count = 5_000;
            let pids = [(); 4].map(|()| by_hand(|| (0..count).for_each(|n| queue.put(n).unwrap())));
            assert_eq!(pids.map(reap), [0; 4]);
            let arrived = core::iter::from_fn(|| queue.try_get().ok()).count() as u64;
            assert_eq!(arrived, 4 * count);
        },
    );
}

/// Checks a daemon whose parent is gone before it runs, while other processes look for the dead and a new process
/// starts.
#[procession::test]
fn a_late_child_does_not_take_the_place_of_another() {
    let _watchdog = watchdog();
    alone("births::a_late_child_does_not_take_the_place_of_another", || {
        adopt_orphans();
        let (lock, work) = (Lock::new().unwrap(), Queue::<u32>::unbounded().unwrap());
        let permits = Semaphore::new(0).unwrap();
        let sweep_dead_rate_limited = || {
            for _ in 0..2 {
                let _ = permits.acquire_timeout(Duration::from_millis(1200));
            }
        };
        let (told, holder_told, go) = (Teller::new(), Teller::new(), Teller::new());
        children_wait(false);
        let between = by_hand(|| {
            children_wait(true);
            let late = by_hand(|| told.tell(&[u64::from(work.put(5).is_ok())]));
            told.tell(&[late as u64]);
        });
        reap(between);
        let late = told.hear().unwrap() as i32;
        sweep_dead_rate_limited();
        // The next child must not wait, and the late one must go on waiting: it reads the flag once a millisecond.
        signal(late, libc::SIGSTOP);
        assert!(comes_true(|| crate::place::state_of(late) == 'T'));
        children_wait(false);
        let holder = by_hand(|| {
            let guard = lock.lock().unwrap();
            holder_told.tell(&[1]);
            go.hear();
            drop(guard);
            holder_told.tell(&[u64::from(lock.try_lock().is_ok())]);
        });
        assert_eq!(holder_told.hear(), Some(1));
        signal(late, libc::SIGCONT);
        let has_put = told.hear().expect("the late one says whether it could put");
        assert!(comes_true(|| is_gone(late)), "the late one ends");
        reap(late);
        if has_put == 1 {
            assert_eq!(work.get_timeout(LATE), Ok(5));
        }
        sweep_dead_rate_limited();
        let taken = lock
            .lock_timeout(Duration::from_secs(2))
            .err()
            .and_then(procession::LockError::into_guard);
        assert!(taken.is_none(), "the lock was taken from a process that lives");
        assert!(!is_gone(holder));
        go.tell(&[1]);
        assert_eq!(holder_told.hear(), Some(1), "it has its lock as long as it wants");
        reap(holder);
    });
}

#[allow(unsafe_code)]
fn adopt_orphans() {
    // SAFETY: it has no preconditions.
    let answer = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(answer, 0);
}
