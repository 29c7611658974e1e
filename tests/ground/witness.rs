//! Whether a process lives: without pidfd, across PID namespaces, after exec, and how soon a death is known.

use crate::common::{METHODS, alone, watchdog};
use crate::place::{
    LATE, LITTLE, Teller, by_hand, comes_true, comes_true_looking_around, is_gone, large_queue, reap,
    refuse_pidfds, resident, signal, skipped, unshare,
};
use procession::{Error, Lock, LockError, LockGuard, Process, Semaphore, pipe_one_way};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

fn take(lock: &Lock, timeout: Duration) -> Option<LockGuard<'_>> {
    match lock.lock_timeout(timeout) {
        Ok(guard) | Err(LockError::OwnerDied { guard, .. }) => Some(guard),
        Err(_) => None,
    }
}

fn hold_and_die(lock: Lock) {
    lock.lock().unwrap().forget();
    signal(std::process::id() as i32, libc::SIGKILL);
}

/// Checks systems without `pidfd_open`: old kernels, and the system call filters of older container runtimes.
fn death_without_pidfds(errno: i32) {
    let lock = Lock::new().unwrap();
    if !refuse_pidfds(errno) {
        return skipped("no filters of system calls");
    }
    reap(by_hand(|| hold_and_die(lock.clone())));
    assert!(take(&lock, LATE).is_some(), "it was killed and collected");
    for method in METHODS {
        let child = Process::builder()
            .method(method)
            .spawn(hold_and_die, lock.clone())
            .unwrap();
        let end = child.wait().unwrap();
        assert!(!end.success(), "{method:?}: {end:?}");
        assert!(
            take(&lock, LATE).is_some(),
            "{method:?}: it was killed, and waited for"
        );
    }
}

#[procession::test]
fn a_death_is_noticed_where_pidfds_are_not_allowed() {
    let _watchdog = watchdog();
    alone("witness::a_death_is_noticed_where_pidfds_are_not_allowed", || {
        death_without_pidfds(libc::EPERM);
    });
}

#[procession::test]
fn a_death_is_noticed_where_there_are_no_pidfds() {
    let _watchdog = watchdog();
    alone("witness::a_death_is_noticed_where_there_are_no_pidfds", || {
        death_without_pidfds(libc::ENOSYS);
    });
}

fn mount_proc() -> bool {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "mount --make-rprivate / && mount -t proc proc /proc"]);
    unshare(libc::CLONE_NEWNS) && shell.status().is_ok_and(|status| status.success())
}

/// Checks a process in another PID namespace, where it has another pid and another /proc. For processes outside it is
/// alive.
#[procession::test]
fn a_process_in_its_own_pid_namespace_keeps_its_lock() {
    let _watchdog = watchdog();
    alone(
        "witness::a_process_in_its_own_pid_namespace_keeps_its_lock",
        || {
            let (lock, permits) = (Lock::new().unwrap(), Semaphore::new(0).unwrap());
            let (told, go) = (Teller::new(), Teller::new());
            if !unshare(libc::CLONE_NEWPID) {
                return skipped("PID namespaces are not allowed");
            }
            let first = by_hand(|| {
                if !mount_proc() {
                    return told.tell(&[2]);
                }
                reap(by_hand(|| {
                    let guard = lock.lock().unwrap();
                    told.tell(&[1]);
                    go.hear();
                    drop(guard);
                    told.tell(&[1]);
                }));
            });
            if told.hear() != Some(1) {
                reap(first);
                return skipped("/proc cannot be mounted");
            }
            for _ in 0..2 {
                let _ = permits.acquire_timeout(Duration::from_millis(1200));
            }
            let taken = take(&lock, Duration::from_secs(2)).is_some();
            go.tell(&[1]);
            assert_eq!(told.hear(), Some(1));
            reap(first);
            assert!(!taken, "it was taken from a process that lives");
            assert!(lock.lock_timeout(LATE).is_ok());
        },
    );
}

#[procession::test]
fn a_process_in_a_pid_namespace_sees_that_those_outside_live() {
    let _watchdog = watchdog();
    alone(
        "witness::a_process_in_a_pid_namespace_sees_that_those_outside_live",
        || {
            let lock = Lock::new().unwrap();
            let told = Teller::new();
            let guard = lock.lock().unwrap();
            let child = by_hand(|| {
                if !unshare(libc::CLONE_NEWPID) {
                    return told.tell(&[2, 2]);
                }
                reap(by_hand(|| {
                    told.tell(&[u64::from(take(&lock, Duration::from_secs(3)).is_some())]);
                    told.tell(&[u64::from(take(&lock, LATE).is_some())]);
                }));
            });
            let early = told.hear();
            drop(guard);
            let late = told.hear();
            reap(child);
            if early == Some(2) {
                return skipped("PID namespaces are not allowed");
            }
            assert_eq!(
                (early, late),
                (Some(0), Some(1)),
                "taken from one who lives; got when it was free"
            );
        },
    );
}

/// Makes a child that becomes `sleep`. Until then it has all that this process has.
fn sleeper(first: impl FnOnce()) -> i32 {
    let (here, there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let pid = by_hand(|| {
        first();
        panic!("{}", std::process::Command::new("/bin/sleep").arg("100").exec());
    });
    drop(there);
    // Exec closes its end.
    rustix::io::read(&here, &mut [0u8; 1]).unwrap();
    pid
}

#[procession::test]
fn a_program_that_was_started_instead_holds_nothing() {
    let _watchdog = watchdog();
    alone(
        "witness::a_program_that_was_started_instead_holds_nothing",
        || {
            let queue = large_queue();
            let (reader, writer) = pipe_one_way::<u32>().unwrap();
            let other = sleeper(|| ());
            drop((queue, writer));
            comes_true_looking_around(|| {
                resident() <= LITTLE && reader.try_recv() == Err(Error::Disconnected)
            });
            let (mib, end) = (resident() >> 20, reader.try_recv());
            let ran = !is_gone(other);
            signal(other, libc::SIGKILL);
            reap(other);
            assert!(ran, "it has ended, so nothing was shown");
            assert!(mib <= LITTLE >> 20, "{mib} MiB stay while the other program runs");
            assert_eq!(end, Err(Error::Disconnected), "nobody has the other end");
        },
    );
}

#[procession::test]
fn a_lock_whose_holder_became_another_program_is_free() {
    let _watchdog = watchdog();
    alone(
        "witness::a_lock_whose_holder_became_another_program_is_free",
        || {
            let lock = Lock::new().unwrap();
            let other = sleeper(|| lock.lock().unwrap().forget());
            let got = take(&lock, Duration::from_secs(8)).is_some();
            let ran = !is_gone(other);
            signal(other, libc::SIGKILL);
            reap(other);
            assert!(ran, "it has ended, so nothing was shown");
            assert!(got, "nobody gets the lock while the other program runs");
        },
    );
}

/// Measures how soon a death is noticed that is not reaped, by a process that is not the parent. The best of several
/// tries counts, because machines are busy.
#[procession::test]
fn a_death_is_noticed_within_a_second() {
    let _watchdog = watchdog();
    alone("witness::a_death_is_noticed_within_a_second", || {
        let lock = Lock::new().unwrap();
        let told = Teller::new();
        let best = (0..4).map(|_| {
            let between = by_hand(|| {
                by_hand(|| {
                    lock.lock().unwrap().forget();
                    told.tell(&[1]);
                    signal(std::process::id() as i32, libc::SIGKILL);
                });
                std::thread::sleep(Duration::from_secs(100));
            });
            assert_eq!(told.hear(), Some(1));
            let begin = Instant::now();
            assert!(take(&lock, LATE).is_some());
            let took = begin.elapsed();
            signal(between, libc::SIGKILL);
            reap(between);
            took
        });
        let best = best.min().unwrap();
        assert!(best < Duration::from_millis(950), "{best:?} at best");
        assert!(comes_true(|| crate::common::own_children().is_empty()));
    });
}
