//! Forks: while other threads hold locks, while memory is allocated, by a bare system call, and by a fork server that
//! is killed.

mod common;

use common::{again, alone, is_again, own_children, pattern, told, until, watchdog};
use procession::{
    Builder, Error, JoinableQueue, Lock, Process, ProcessError, Queue, StartMethod, Stdio, current,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn by(method: StartMethod) -> Builder {
    Process::builder().method(method)
}

#[procession::test]
fn a_fork_has_what_it_captured() {
    let _watchdog = watchdog();
    let text = "captured".to_owned();
    let numbers = [1, 2, 3].to_vec();
    let queue = Queue::unbounded().unwrap();
    let mut counter = 5;
    let child = Process::builder()
        .name("copy")
        .env("PROCESSION_TEST_FORK", "1")
        .fork(|| {
            counter += 1;
            queue.put(text.clone()).unwrap();
            let variable = std::env::var("PROCESSION_TEST_FORK").ok();
            (
                counter,
                numbers.iter().sum::<i32>(),
                variable,
                current().unwrap().name().to_owned(),
            )
        })
        .unwrap();
    assert_eq!(
        child.join().unwrap(),
        (6, 6, Some("1".to_owned()), "copy".to_owned())
    );
    assert_eq!(queue.get().unwrap(), "captured");
    assert_eq!(counter, 5);
    let failed = Process::builder()
        .stderr(Stdio::null())
        .fork(|| panic!("in a copy"))
        .unwrap();
    let failed: procession::Result<()> = failed.join();
    assert!(
        matches!(&failed, Err(Error::Process(ProcessError::Panicked { message, .. })) if message == "in a copy"),
        "{failed:?}"
    );
}

/// Forks a child while other threads hold the C library's lock of the environment: in the child no thread will release
/// it.
#[procession::test]
fn a_fork_with_an_environment_while_others_read_theirs() {
    let _watchdog = watchdog();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(std::env::vars_os().count() > 0);
                }
            });
        }
        for turn in 0..200 {
            let child = Process::builder()
                .env("PROCESSION_TEST_FORK", turn.to_string())
                .fork(|| std::env::var("PROCESSION_TEST_FORK").ok())
                .unwrap();
            assert_eq!(child.join().unwrap(), Some(turn.to_string()));
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[procession::test]
fn a_closure_with_captures_needs_a_fork() {
    let refused = by(StartMethod::ForkServer).fork(|| 1).unwrap_err();
    assert!(matches!(refused, Error::Unsendable(_)), "{refused}");
    let refused = Process::builder().program("/bin/true").fork(|| 1).unwrap_err();
    assert!(matches!(refused, Error::Unsendable(_)), "{refused}");
    let refused = by(StartMethod::Fork)
        .program("/bin/true")
        .spawn(|| 1, ())
        .unwrap_err();
    assert!(matches!(refused, Error::Unsendable(_)), "{refused}");
}

/// Queues and locks, and threads that use them without a pause until they are stopped.
struct Bustle {
    numbers: Queue<u64>,
    texts: Queue<Vec<u8>>,
    jobs: JoinableQueue<u8>,
    lock: Lock,
}

impl Bustle {
    fn start(&self, count: u64) {
        for n in 0..count {
            self.numbers.put(n).unwrap();
            let _guard = self.lock.lock().unwrap();
            self.texts.put(pattern(n, (n % 3 * 6_000) as usize)).unwrap();
            self.jobs.put(1).unwrap();
            let made = Queue::unbounded().unwrap();
            made.put(n).unwrap();
        }
    }

    fn stop(&self, count: u64) {
        for _ in 0..count {
            self.numbers.get().unwrap();
            let text = self.texts.get().unwrap();
            assert!([0, 6_000, 12_000].contains(&text.len()));
            self.jobs.get().unwrap();
            self.jobs.task_done().unwrap();
        }
    }

    /// Uses the queues and locks in a child, and lets a child of that child use them.
    fn visit(&self) -> bool {
        self.start(20);
        self.stop(20);
        let inner = Process::fork(|| {
            self.start(3);
            self.stop(3);
            std::process::id()
        })
        .unwrap();
        let pid = inner.pid();
        inner.join().unwrap() == pid && self.lock.lock_timeout(Duration::from_secs(3_600)).is_ok()
    }
}

#[procession::test]
fn a_fork_while_others_hold_everything() {
    let _watchdog = watchdog();
    alone("a_fork_while_others_hold_everything", || {
        let bustle = Bustle {
            numbers: Queue::unbounded().unwrap(),
            texts: Queue::bounded(1_000).unwrap(),
            jobs: JoinableQueue::unbounded().unwrap(),
            lock: Lock::new().unwrap(),
        };
        let over = Queue::<()>::unbounded().unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.is_shut_down() {
                        bustle.start(10);
                        bustle.stop(10);
                        // A lock is not fair at once: threads without a pause could keep the children out for long.
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
            for _ in 0..60 {
                let child = Process::fork(|| bustle.visit()).unwrap();
                assert_eq!(child.join(), Ok(true));
            }
            over.shutdown();
        });
        bustle.jobs.join().unwrap();
        assert_eq!((bustle.numbers.len(), bustle.texts.len()), (0, 0));
    });
}

#[procession::test]
fn a_fork_that_is_not_ours_has_its_own_handles() {
    let _watchdog = watchdog();
    alone("a_fork_that_is_not_ours_has_its_own_handles", || {
        let (queue, lock) = (Queue::unbounded().unwrap(), Lock::new().unwrap());
        let guard = lock.lock().unwrap();
        #[allow(unsafe_code)]
        // SAFETY: the child uses this crate and ends without returning.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let refused = lock.try_lock().is_err();
            let me = current().unwrap();
            queue.put((me.pid(), refused, me.name().to_owned())).unwrap();
            let inner = Process::spawn(|n: u32| n, 4).and_then(Process::join);
            queue.put((inner.unwrap_or(0), true, String::new())).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
        let (told, refused, name) = queue.get().unwrap();
        assert_eq!((told as i32, refused), (pid, true), "{name}");
        assert_eq!(queue.get().unwrap().0, 4);
        until(|| {
            own_children()
                .iter()
                .all(|seen| seen.pid != pid || seen.state == 'Z')
        });
        assert!(matches!(lock.try_lock(), Err(procession::LockError::WouldBlock)));
        drop(guard);
    });
}

/// The time in microseconds that the forking thread waits first.
const DELAY: &str = "PROCESSION_TEST_DELAY";

/// Lets one thread make the program's first object, and with it the heap, while another thread forks.
#[test]
fn a_fork_while_the_memory_of_the_program_is_made() {
    let _watchdog = watchdog();
    if is_again() {
        let delay = std::env::var(DELAY).unwrap().parse().unwrap();
        return fork_after(Duration::from_micros(delay));
    }
    for delay in 0..200 {
        let test = "a_fork_while_the_memory_of_the_program_is_made";
        let output = again(test).env(DELAY, (5 * delay).to_string()).output().unwrap();
        assert!(output.status.success(), "{delay}: {}", told(&output));
    }
}

fn fork_after(delay: Duration) {
    let maker = thread::spawn(|| Queue::<u8>::unbounded().unwrap());
    let begin = Instant::now();
    while begin.elapsed() < delay {}
    #[allow(unsafe_code)]
    // SAFETY: the child uses this crate and ends without returning.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let queue = Queue::unbounded().unwrap();
        queue.put(1).unwrap();
        let well = queue.get() == Ok(1) && current().unwrap().pid() == std::process::id();
        #[allow(unsafe_code)]
        // SAFETY: the call has no preconditions.
        unsafe {
            libc::_exit(i32::from(!well))
        };
    }
    let (_, status) = waitpid(Pid::from_raw(pid), WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(status.exit_status(), Some(0));
    maker.join().unwrap();
}

// ---- the fork server ----

fn kill_the_fork_server() {
    let seen = procession::inspect().unwrap();
    for server in seen.processes.iter().filter(|seen| seen.name == "forkserver") {
        let pid = Pid::from_raw(server.pid as i32).unwrap();
        // The server may have been killed before.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Kills the fork server. A start during the kill returns a process or an error; a start after it returns a process.
#[procession::test]
fn the_fork_server_is_killed() {
    let _watchdog = watchdog();
    alone("the_fork_server_is_killed", || {
        let start = |n: u32| by(StartMethod::ForkServer).spawn(|n: u32| n + 1, n);
        let (over, good) = (AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for n in 0.. {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        if let Ok(result) = start(n).map(Process::join) {
                            good.fetch_add(1, Ordering::Relaxed);
                            assert!(result.is_err() || result == Ok(n + 1), "{result:?}");
                        }
                    }
                });
            }
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(5));
                kill_the_fork_server();
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(good.load(Ordering::Relaxed) > 0);
        for n in 0..3 {
            assert_eq!(start(n).unwrap().join(), Ok(n + 1));
            kill_the_fork_server();
            until(|| procession::inspect().unwrap().processes.len() == 1);
        }
    });
}

/// Lets several threads initialise the program at the same time and fork at once: every child reports where it panics.
#[test]
fn forks_while_the_program_is_prepared() {
    let _watchdog = watchdog();
    if is_again() {
        return fork_at_once();
    }
    for turn in 0..100 {
        let mut program = again("forks_while_the_program_is_prepared");
        let output = program.env("RUST_BACKTRACE", "0").output().unwrap();
        assert!(output.status.success(), "{turn}: {}", told(&output));
    }
}

fn fork_at_once() {
    let together = std::sync::Barrier::new(16);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                together.wait();
                procession::init();
                let child = Process::builder().stderr(Stdio::null()).fork(|| panic!("here")).unwrap();
                let told: procession::Result<()> = child.join();
                assert!(
                    matches!(&told, Err(Error::Process(ProcessError::Panicked { location, .. })) if location.contains("fork.rs")),
                    "{told:?}"
                );
            });
        }
    });
}
