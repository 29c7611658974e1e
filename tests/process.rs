//! Processes, by every start method: arguments, results, ends, and the relations between processes.

mod common;

use common::{A_WHILE, METHODS, alone, family, not_before, pattern, processes, runs, until, watchdog};
use procession::{
    Builder, Error, ExitStatus, JoinableQueue, Lock, Process, ProcessError, Queue, StartMethod, Stdio,
    active_children, cpu_count, current, parent,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

fn by(method: StartMethod) -> Builder {
    Process::builder().method(method)
}

// ---- arguments and results ----

#[procession::test]
fn any_number_of_arguments() {
    let _watchdog = watchdog();
    for method in METHODS {
        assert_eq!(by(method).spawn(|| 0, ()).unwrap().join(), Ok(0));
        assert_eq!(by(method).spawn(|a: i32| a, 1).unwrap().join(), Ok(1));
        let f = |a: i32, b: u8| (a, b);
        assert_eq!(by(method).spawn(f, (1, 2)).unwrap().join(), Ok((1, 2)));
        let f = |a: i32, b: u8, c: String| (a, b, c);
        let args = (-1, 2, "three".to_owned());
        assert_eq!(by(method).spawn(f, args.clone()).unwrap().join(), Ok(args));
        let f = |a: i8, b: i16, c: i32, d: i64| i64::from(a) + i64::from(b) + i64::from(c) + d;
        assert_eq!(
            by(method).spawn(f, (1, 20, 300, 4_000)).unwrap().join(),
            Ok(4_321)
        );
        let f = |a: bool, b: char, c: f64, d: Option<u8>, e: Vec<()>| (a, b, c, d, e);
        let args = (true, 'é', 0.5, None, vec![(); 3]);
        assert_eq!(by(method).spawn(f, args.clone()).unwrap().join(), Ok(args));
        let f = |a: u8, b: u8, c: u8, d: u8, e: u8, f: u8| [a, b, c, d, e, f];
        let six = by(method).spawn(f, (1, 2, 3, 4, 5, 6)).unwrap();
        assert_eq!(six.join(), Ok([1, 2, 3, 4, 5, 6]));
        // One argument, which is itself a tuple.
        let f = |pair: (u8, u8)| pair.0 - pair.1;
        assert_eq!(by(method).spawn(f, (3, 2)).unwrap().join(), Ok(1));
    }
}

fn first_of<T: Clone>(values: Vec<T>) -> Option<T> {
    values.first().cloned()
}

#[procession::test]
fn a_generic_function_is_as_good_as_another() {
    let _watchdog = watchdog();
    for method in METHODS {
        let text = by(method)
            .spawn(first_of::<String>, vec!["a".to_owned()])
            .unwrap();
        let number = by(method).spawn(first_of::<u8>, vec![]).unwrap();
        assert_eq!(text.join(), Ok(Some("a".to_owned())));
        assert_eq!(number.join(), Ok(None));
    }
}

fn divide(a: u32, b: u32) -> procession::Result<u32> {
    a.checked_div(b).ok_or(Error::Encode {
        reason: "nothing to divide by".to_owned(),
    })
}

#[procession::test]
fn an_error_is_a_result_too() {
    let _watchdog = watchdog();
    for method in METHODS {
        assert_eq!(by(method).spawn(divide, (6, 3)).unwrap().join(), Ok(Ok(2)));
        let failed = by(method).spawn(divide, (6, 0)).unwrap().join().unwrap();
        assert!(matches!(failed, Err(Error::Encode { reason }) if reason == "nothing to divide by"));
    }
}

fn add_one(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in &mut bytes {
        *byte = byte.wrapping_add(1);
    }
    bytes
}

#[procession::test]
fn big_arguments_and_results() {
    let _watchdog = watchdog();
    for method in METHODS {
        let bytes = pattern(3, 10 << 20);
        let process = by(method).spawn(add_one, bytes.clone()).unwrap();
        assert!(process.join().unwrap() == add_one(bytes));
    }
}

fn make_queue(n: u32) -> Queue<u32> {
    let queue = Queue::unbounded().unwrap();
    queue.put_many(0..n).unwrap();
    queue
}

#[procession::test]
fn a_result_may_be_a_handle() {
    let _watchdog = watchdog();
    for method in METHODS {
        let mut process = by(method).spawn(make_queue, 1_000).unwrap();
        process.wait().unwrap();
        let queue = process.join_timeout(Duration::ZERO).unwrap();
        drop(process);
        queue.put(1_000).unwrap();
        queue.shutdown();
        assert!(queue.iter().eq(0..=1_000));
    }
}

// ---- what a builder sets ----

fn who_am_i() -> (u32, u32, String, bool, bool) {
    let me = current().unwrap();
    (
        std::process::id(),
        me.pid(),
        me.name().to_owned(),
        me.is_daemon(),
        me.is_alive(),
    )
}

#[procession::test]
fn name_pid_and_daemon_are_known_on_both_sides() {
    let _watchdog = watchdog();
    for method in METHODS {
        for daemon in [false, true] {
            let process = by(method)
                .name("worker")
                .daemon(daemon)
                .spawn(who_am_i, ())
                .unwrap();
            let pid = process.pid();
            assert_eq!((process.name(), process.is_daemon()), ("worker", daemon));
            let told = format!("{process:?}");
            assert!(
                told.contains("worker") && told.contains(&pid.to_string()),
                "{told}"
            );
            assert_eq!(
                process.join().unwrap(),
                (pid, pid, "worker".to_owned(), daemon, true)
            );
        }
        let (one, two) = (
            by(method).spawn(who_am_i, ()).unwrap(),
            by(method).spawn(who_am_i, ()).unwrap(),
        );
        assert!(one.name().starts_with("Process-"));
        assert_ne!(one.name(), two.name());
        let name = one.name().to_owned();
        assert_eq!(one.join().unwrap().2, name);
        drop(two);
        // Too long for the table: the kept part ends with a whole character.
        let long = "é".repeat(100);
        let process = by(method).name(&long).spawn(who_am_i, ()).unwrap();
        assert_eq!(process.join().unwrap().2, "é".repeat(32));
    }
}

#[procession::test]
fn the_name_is_seen_by_the_system() {
    let _watchdog = watchdog();
    fn own_name() -> String {
        std::fs::read_to_string("/proc/self/comm").unwrap()
    }
    // A process has the name of its first thread, and a started test program runs the test in another thread.
    let process = by(StartMethod::Fork)
        .name("a-rather-long-name")
        .spawn(own_name, ())
        .unwrap();
    assert_eq!(process.join().unwrap(), "a-rather-long-n\n");
}

fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

#[procession::test]
fn its_environment() {
    let _watchdog = watchdog();
    const NAME: &str = "PROCESSION_TEST_VARIABLE";
    for method in METHODS {
        let ask =
            |builder: Builder, name: &str| builder.spawn(variable, name.to_owned()).unwrap().join().unwrap();
        assert_eq!(ask(by(method), NAME), None);
        for value in ["1", "", "a b=c\n"] {
            assert_eq!(ask(by(method).env(NAME, value), NAME).as_deref(), Some(value));
        }
        let twice = by(method).env(NAME, "1").env(NAME, "2");
        assert_eq!(ask(twice, NAME).as_deref(), Some("2"));
        // The setting affected only the child.
        assert_eq!(ask(by(method), NAME), None);
        assert_eq!(std::env::var_os(NAME), None);
        // Variables that are not set are inherited; those that are set are replaced.
        assert_eq!(ask(by(method), "PATH"), std::env::var("PATH").ok());
        assert_eq!(
            ask(by(method).env("PATH", "/nowhere"), "PATH").as_deref(),
            Some("/nowhere")
        );
        // The variables that tell the child what to run are removed.
        assert_eq!(ask(by(method), "PROCESSION_START"), None);
    }
}

#[procession::test]
fn an_environment_that_cannot_be_is_an_error() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0B", "x"), ("A", "x\0")] {
        for method in METHODS {
            let refused = by(method).env(name, value).spawn(|| 1, ()).unwrap_err();
            assert!(refused.to_string().contains("environment variable"), "{refused}");
        }
        let refused = Process::builder().env(name, value).fork(|| 1).unwrap_err();
        assert!(refused.to_string().contains(&format!("{name:?}")), "{refused}");
    }
}

#[procession::test]
fn its_working_directory() {
    fn here() -> std::path::PathBuf {
        std::env::current_dir().unwrap()
    }
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for method in METHODS {
        assert_eq!(by(method).spawn(here, ()).unwrap().join(), Ok(here()));
        let process = by(method).current_dir(&path).spawn(here, ()).unwrap();
        assert_eq!(process.join().unwrap(), path);
    }
}

#[procession::test]
fn a_working_directory_that_does_not_exist_is_an_error() {
    let _watchdog = watchdog();
    for method in METHODS {
        let end = by(method)
            .current_dir("/nowhere/at/all")
            .spawn(who_am_i, ())
            .and_then(Process::join);
        match end {
            Err(Error::Os { errno, .. }) => assert_eq!(errno, libc::ENOENT),
            Err(Error::Process(ProcessError::Failed { reason, .. })) => {
                assert!(reason.contains("No such file"), "{reason}");
            }
            other => panic!("{method:?}: {other:?}"),
        }
    }
}

fn copy_input() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    // Written without `println`, whose output the test harness holds back in its threads.
    std::io::stdout()
        .write_all(format!("out: {text}").as_bytes())
        .unwrap();
    std::io::stderr()
        .write_all(format!("err: {text}").as_bytes())
        .unwrap();
}

#[procession::test]
fn its_streams_are_files() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("in"), "hello").unwrap();
    for method in METHODS {
        let create = |name: &str| std::fs::File::create(path(name)).unwrap();
        let process = by(method)
            .stdin(std::fs::File::open(path("in")).unwrap())
            .stdout(create("out"))
            .stderr(create("err"))
            .spawn(copy_input, ())
            .unwrap();
        process.join().unwrap();
        assert_eq!(
            std::fs::read_to_string(path("out")).unwrap(),
            "out: hello",
            "{method:?}"
        );
        assert_eq!(
            std::fs::read_to_string(path("err")).unwrap(),
            "err: hello",
            "{method:?}"
        );
    }
}

#[procession::test]
fn its_streams_are_nothing_or_pipes() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let process = by(method)
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(writer)))
            .stderr(Stdio::null())
            .spawn(copy_input, ())
            .unwrap();
        let mut text = String::new();
        // Ends when the other end is closed: the child had the only copy.
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "out: ", "{method:?}");
        process.join().unwrap();
        let process = by(method)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn(|| drop(write!(std::io::stdout(), "lost")), ());
        process.unwrap().join().unwrap();
    }
}

// ---- the end of a process ----

fn fall_over(n: u32) -> u32 {
    assert!(n != 1, "fell over {n}");
    n
}

fn panic_strangely() {
    std::panic::panic_any(7)
}

#[procession::test]
fn a_panic_is_reported_with_its_location() {
    let _watchdog = watchdog();
    for method in METHODS {
        let mut process = by(method)
            .name("clumsy")
            .stderr(Stdio::null())
            .spawn(fall_over, 1)
            .unwrap();
        assert_eq!(process.wait(), Ok(ExitStatus::Code(101)));
        match process.join_timeout(Duration::ZERO) {
            Err(Error::Process(ProcessError::Panicked {
                name,
                message,
                location,
            })) => {
                assert_eq!((name.as_str(), message.as_str()), ("clumsy", "fell over 1"));
                assert!(location.contains("process.rs:"), "{location}");
            }
            other => panic!("{method:?}: {other:?}"),
        }
        let strange = by(method)
            .stderr(Stdio::null())
            .spawn(panic_strangely, ())
            .unwrap()
            .join();
        assert!(
            matches!(strange, Err(Error::Process(ProcessError::Panicked { .. }))),
            "{strange:?}"
        );
    }
}

#[procession::test]
fn a_panic_that_is_caught_is_not_the_end() {
    fn careful() -> u32 {
        let caught = std::panic::catch_unwind(|| fall_over(1)).is_err();
        let thread = thread::spawn(|| fall_over(1)).join().is_err();
        u32::from(caught) + u32::from(thread)
    }
    let _watchdog = watchdog();
    for method in METHODS {
        let process = by(method).stderr(Stdio::null()).spawn(careful, ()).unwrap();
        assert_eq!(process.join(), Ok(2));
    }
}

#[procession::test]
fn an_exit_is_reported_with_its_code() {
    let _watchdog = watchdog();
    for method in METHODS {
        for code in [0, 3, 100, 101, 255] {
            let process = by(method).spawn(|code: i32| std::process::exit(code), code);
            let mut process: Process<()> = process.unwrap();
            assert_eq!(process.wait(), Ok(ExitStatus::Code(code)), "{method:?}");
            match process.join_timeout(Duration::ZERO) {
                Err(Error::Process(ProcessError::Exited { code: told, .. })) => assert_eq!(told, code),
                other => panic!("{method:?}: {other:?}"),
            }
        }
    }
}

fn sleep_well(never: Queue<()>) {
    let _ = never.get();
}

fn asleep(method: StartMethod) -> Process<()> {
    by(method).spawn(sleep_well, Queue::unbounded().unwrap()).unwrap()
}

#[procession::test]
fn a_signal_is_reported_by_its_number() {
    let _watchdog = watchdog();
    for method in METHODS {
        for (end, number) in [
            (Process::kill as fn(&Process<()>) -> _, libc::SIGKILL),
            (Process::terminate, libc::SIGTERM),
        ] {
            let process = asleep(method);
            end(&process).unwrap();
            assert_eq!(process.wait(), Ok(ExitStatus::Signal(number)), "{method:?}");
            // After the end these calls do nothing.
            end(&process).unwrap();
            match process.join() {
                Err(Error::Process(ProcessError::Signaled { signal, .. })) => assert_eq!(signal, number),
                // It may have been killed before it reported that it runs.
                Err(Error::Process(ProcessError::NotStarted { .. })) => {}
                other => panic!("{method:?}: {other:?}"),
            }
        }
        let aborted = by(method)
            .stderr(Stdio::null())
            .spawn(|| std::process::abort(), ());
        let aborted: procession::Result<()> = aborted.unwrap().join();
        assert!(
            matches!(
                aborted,
                Err(Error::Process(ProcessError::Signaled {
                    signal: libc::SIGABRT,
                    ..
                }))
            ),
            "{method:?}: {aborted:?}"
        );
    }
}

fn answer_then_wait(ready: Queue<()>, go_on: Queue<()>) -> u32 {
    ready.put(()).unwrap();
    let _ = go_on.get();
    7
}

#[procession::test]
fn waiting_in_vain_and_again() {
    let _watchdog = watchdog();
    for method in METHODS {
        let (ready, go_on) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let mut process = by(method)
            .spawn(answer_then_wait, (ready.clone(), go_on.clone()))
            .unwrap();
        ready.get().unwrap();
        let timeout = Duration::from_millis(30);
        assert!(process.is_alive());
        assert_eq!(process.exit_status(), None);
        assert_eq!(process.join_timeout(Duration::ZERO), Err(Error::Timeout));
        assert_eq!(
            not_before(timeout, || process.join_timeout(timeout)),
            Err(Error::Timeout)
        );
        assert_eq!(
            not_before(timeout, || process.wait_timeout(timeout)),
            Err(Error::Timeout)
        );
        go_on.put(()).unwrap();
        assert_eq!(process.join_timeout(Duration::from_secs(3_600)), Ok(7));
        assert!(!process.is_alive());
        assert_eq!(process.exit_status(), Some(ExitStatus::Code(0)));
        assert_eq!(process.wait(), Ok(ExitStatus::Code(0)));
        assert!(matches!(
            process.join_timeout(Duration::ZERO),
            Err(Error::Process(ProcessError::AlreadyJoined { .. }))
        ));
    }
}

fn readable(process: &Process<u32>, timeout: Option<&Timespec>) -> bool {
    let sentinel = process.sentinel().expect("it was alive when it was started");
    poll(&mut [PollFd::from_borrowed_fd(sentinel, PollFlags::IN)], timeout).unwrap() == 1
}

#[procession::test]
fn its_sentinel_can_be_polled() {
    let _watchdog = watchdog();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    for method in METHODS {
        let (ready, go_on) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let process = by(method)
            .spawn(answer_then_wait, (ready.clone(), go_on.clone()))
            .unwrap();
        ready.get().unwrap();
        assert!(!readable(&process, Some(&now)));
        go_on.put(()).unwrap();
        assert!(readable(&process, None));
        assert!(readable(&process, Some(&now)));
        assert_eq!(process.exit_status(), Some(ExitStatus::Code(0)));
        assert_eq!(process.join(), Ok(7));
    }
}

#[procession::test]
fn several_threads_wait_for_one_process() {
    let _watchdog = watchdog();
    for method in METHODS {
        let process = asleep(method);
        thread::scope(|scope| {
            let waiters = [(); 3].map(|()| scope.spawn(|| process.wait()));
            thread::sleep(A_WHILE);
            process.kill().unwrap();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Ok(ExitStatus::Signal(libc::SIGKILL)));
            }
        });
    }
}

// ---- what is left of a process ----

/// Returns the processes of this program that have ended and were not reaped by the process that should reap them.
fn zombies() -> Vec<i32> {
    let family = family(std::process::id());
    let ended = processes()
        .into_iter()
        .filter(|seen| seen.state == 'Z' && family.contains(&seen.pid));
    ended.map(|seen| seen.pid).collect()
}

#[procession::test]
fn a_dropped_handle_leaves_no_zombie() {
    let _watchdog = watchdog();
    alone("a_dropped_handle_leaves_no_zombie", || {
        for method in METHODS {
            // Dropped before the end: more handles than one list holds.
            let go_on = Queue::unbounded().unwrap();
            let pids: Vec<_> = (0..80)
                .map(|_| by(method).spawn(sleep_well, go_on.clone()).unwrap().pid())
                .collect();
            assert!(
                pids.iter().all(|&pid| runs(pid)),
                "dropping a handle ended a process"
            );
            go_on.shutdown();
            until(|| !pids.iter().any(|&pid| runs(pid)));
            until(|| zombies().is_empty());
            // Dropped after the end.
            let process = asleep(method);
            process.kill().unwrap();
            until(|| !runs(process.pid()));
            drop(process);
            until(|| zombies().is_empty());
        }
        assert_eq!(active_children(), []);
    });
}

#[procession::test]
fn asking_for_the_end_of_one_leaves_the_others_alone() {
    let _watchdog = watchdog();
    alone("asking_for_the_end_of_one_leaves_the_others_alone", || {
        for method in METHODS {
            let mut other = std::process::Command::new("true").spawn().unwrap();
            drop(by(method).spawn(who_am_i, ()).unwrap());
            let process = by(method).spawn(fall_over, 2).unwrap();
            until(|| !runs(process.pid()));
            until(|| !runs(other.id()));
            drop(asleep(method).kill());
            assert_eq!(process.join(), Ok(2));
            assert!(other.wait().unwrap().success());
        }
    });
}

fn leave_children(method: u8, pids: Queue<u32>, go_on: Queue<()>) -> u8 {
    for daemon in [false, true] {
        let queue = if daemon {
            Queue::unbounded().unwrap()
        } else {
            go_on.clone()
        };
        let child = by(METHODS[usize::from(method)])
            .daemon(daemon)
            .spawn(sleep_well, queue);
        pids.put(child.unwrap().pid()).unwrap();
    }
    method
}

#[procession::test]
fn a_process_waits_for_its_own() {
    let _watchdog = watchdog();
    for first in METHODS {
        for second in 0..3 {
            let (pids, go_on) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
            let mut process = by(first)
                .spawn(leave_children, (second, pids.clone(), go_on.clone()))
                .unwrap();
            let (ordinary, daemon) = (pids.get().unwrap(), pids.get().unwrap());
            // Its function has returned when its daemon is gone, but the process lives as long as its other child.
            until(|| !runs(daemon));
            thread::sleep(Duration::from_millis(5));
            assert!(process.is_alive() && runs(ordinary));
            go_on.shutdown();
            assert_eq!(process.wait(), Ok(ExitStatus::Code(0)), "{first:?}, {second}");
            assert!(!runs(ordinary));
            assert_eq!(process.join_timeout(Duration::ZERO), Ok(second));
        }
    }
}

fn leave_a_mark(file: std::path::PathBuf, go_on: Queue<()>) {
    let _ = go_on.get();
    thread::sleep(A_WHILE);
    std::fs::write(file, "done").unwrap();
}

#[procession::test]
fn a_program_waits_for_its_processes_but_not_for_daemons() {
    let _watchdog = watchdog();
    const FOLDER: &str = "PROCESSION_TEST_FOLDER";
    let test = "a_program_waits_for_its_processes_but_not_for_daemons";
    if common::is_again() {
        let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
        let (go_on, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        for method in METHODS {
            let file = folder.join(format!("{method:?}"));
            drop(by(method).spawn(leave_a_mark, (file, go_on.clone())).unwrap());
            let file = folder.join(format!("{method:?}-daemon"));
            let daemon = by(method)
                .daemon(true)
                .spawn(leave_a_mark, (file, never.clone()))
                .unwrap();
            std::fs::write(folder.join(format!("{method:?}-pid")), daemon.pid().to_string()).unwrap();
        }
        // They should finish after this program's own code.
        go_on.shutdown();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = common::again(test).env(FOLDER, folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", common::told(&output));
    for method in METHODS {
        let file = |suffix: &str| folder.path().join(format!("{method:?}{suffix}"));
        assert!(file("").exists(), "{method:?}");
        let daemon: u32 = std::fs::read_to_string(file("-pid")).unwrap().parse().unwrap();
        until(|| !runs(daemon));
        assert!(!file("-daemon").exists());
    }
}

// ---- relatives ----

/// Starts another process by `method`, and returns what that process reported.
fn start_another(method: u8, depth: u8) -> Vec<(u32, Option<u32>)> {
    let me = (std::process::id(), parent().map(|parent| parent.pid()));
    let mut line = vec![me];
    if depth > 0 {
        let next = by(METHODS[usize::from(method)])
            .spawn(start_another, ((method + depth) % 3, depth - 1))
            .unwrap();
        line.extend(next.join().unwrap());
    }
    line
}

#[procession::test]
fn processes_have_processes() {
    let _watchdog = watchdog();
    for method in METHODS {
        for next in 0..3 {
            let first = by(method).spawn(start_another, (next, 3)).unwrap();
            let mut expected = std::process::id();
            let line = first.join().unwrap();
            assert_eq!(line.len(), 4);
            for (pid, parent) in line {
                // The process that asked for a child is its parent, even if the fork server forked it.
                assert_eq!(parent, Some(expected));
                expected = pid;
            }
        }
    }
}

#[procession::test]
fn parents_are_known_by_name() {
    fn names() -> (String, String, bool) {
        let parent = parent().unwrap();
        (
            current().unwrap().name().to_owned(),
            parent.name().to_owned(),
            parent.is_alive(),
        )
    }
    fn middle(method: u8) -> (String, String, bool) {
        by(METHODS[usize::from(method)])
            .name("child")
            .spawn(names, ())
            .unwrap()
            .join()
            .unwrap()
    }
    let _watchdog = watchdog();
    alone("parents_are_known_by_name", || {
        assert!(parent().is_none());
        assert_eq!(current().unwrap().name(), "main");
        assert_eq!(current().unwrap().pid(), std::process::id());
        for method in METHODS {
            let one = by(method).name("one").spawn(names, ()).unwrap();
            assert_eq!(one.join().unwrap(), ("one".to_owned(), "main".to_owned(), true));
            for next in 0..3 {
                let two = by(method).name("middle").spawn(middle, next).unwrap();
                assert_eq!(
                    two.join().unwrap(),
                    ("child".to_owned(), "middle".to_owned(), true)
                );
            }
        }
    });
}

#[procession::test]
fn active_children_are_those_that_run() {
    let _watchdog = watchdog();
    alone("active_children_are_those_that_run", || {
        assert_eq!(active_children(), []);
        let go_on = Queue::unbounded().unwrap();
        let start = |method: StartMethod| {
            by(method)
                .name(format!("{method:?}"))
                .spawn(sleep_well, go_on.clone())
                .unwrap()
        };
        let processes = METHODS.map(start);
        let mut names: Vec<_> = active_children()
            .iter()
            .map(|child| child.name().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["Fork", "ForkServer", "Spawn"]);
        let mut pids: Vec<_> = active_children()
            .iter()
            .map(procession::ProcessInfo::pid)
            .collect();
        pids.sort_unstable();
        let mut expected = processes.each_ref().map(Process::pid);
        expected.sort_unstable();
        assert_eq!(pids, expected);
        assert!(active_children().iter().all(procession::ProcessInfo::is_alive));
        let one = active_children().remove(0);
        // Processes whose handle was dropped still run.
        drop(processes);
        assert_eq!(active_children().len(), 3);
        go_on.shutdown();
        until(|| active_children().is_empty());
        assert!(!one.is_alive());
        // A forked child does not inherit the list of children.
        let never = Queue::<()>::unbounded().unwrap();
        let child = asleep(StartMethod::Spawn);
        let seen = Process::fork(|| active_children().len()).unwrap();
        assert_eq!(seen.join(), Ok(0));
        child.kill().unwrap();
        drop(never);
    });
}

fn try_to_have_children() -> Vec<procession::Result<()>> {
    METHODS
        .iter()
        .map(|&method| by(method).spawn(who_am_i, ()).map(drop))
        .chain([Process::fork(|| 1).map(drop)])
        .collect()
}

#[procession::test]
fn daemons_have_no_children() {
    let _watchdog = watchdog();
    for method in METHODS {
        let daemon = by(method).daemon(true).spawn(try_to_have_children, ()).unwrap();
        assert_eq!(daemon.join().unwrap(), [const { Err(Error::DaemonChildren) }; 4]);
        let other = by(method).spawn(try_to_have_children, ()).unwrap();
        assert_eq!(other.join().unwrap(), [const { Ok(()) }; 4]);
    }
}

/// Starts a daemon and another process, reports their pids, and waits.
fn start_two(method: u8, pids: Queue<(u32, u32)>, never: Queue<()>) {
    let method = METHODS[usize::from(method)];
    let daemon = by(method).daemon(true).spawn(sleep_well, never.clone()).unwrap();
    let other = by(method).spawn(sleep_well, never.clone()).unwrap();
    pids.put((daemon.pid(), other.pid())).unwrap();
    let _ = never.get();
}

#[procession::test]
fn a_daemon_dies_with_its_parent() {
    let _watchdog = watchdog();
    for first in METHODS {
        for second in 0..3 {
            let (pids, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
            let process = by(first)
                .spawn(start_two, (second, pids.clone(), never.clone()))
                .unwrap();
            let (daemon, other) = pids.get().unwrap();
            assert!(runs(daemon) && runs(other));
            process.kill().unwrap();
            process.wait().unwrap();
            until(|| !runs(daemon));
            // A process that is not a daemon goes on without its parent.
            thread::sleep(Duration::from_millis(5));
            assert!(runs(other));
            never.shutdown();
            until(|| !runs(other));
        }
    }
}

// ---- signal handlers ----

#[allow(unsafe_code)]
mod signals {
    extern "C" fn nothing(_: i32) {}

    /// Installs a handler for SIGUSR1 that only interrupts system calls.
    pub fn install() {
        // SAFETY: a zeroed sigaction is valid, and so is the handler.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &raw const action, core::ptr::null_mut()),
                0
            );
        }
    }

    /// Returns the calling thread's id for [`send`].
    pub fn me() -> libc::pthread_t {
        // SAFETY: no preconditions.
        unsafe { libc::pthread_self() }
    }

    /// Sends SIGUSR1 to a thread that runs.
    pub fn send(thread: libc::pthread_t) {
        // SAFETY: the callers ensure that the thread has not been joined.
        unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
    }
}

/// Runs `wait` while a signal handler runs in its thread again and again; `end` ends the wait.
#[track_caller]
fn disturbed<T: Send + core::fmt::Debug>(wait: impl FnOnce() -> T + Send, end: impl FnOnce()) -> T {
    thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = scope.spawn(move || {
            tell.send(signals::me()).unwrap();
            wait()
        });
        let thread = told.recv().unwrap();
        for n in 0..200 {
            signals::send(thread);
            thread::sleep(Duration::from_micros(n * 10));
        }
        let early = waiter.is_finished();
        end();
        let answer = waiter.join().unwrap();
        assert!(!early, "a signal handler ended a wait: {answer:?}");
        answer
    })
}

/// Runs a wait with a deadline in the same way.
fn disturbed_until<T: Send>(timeout: Duration, wait: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = scope.spawn(move || {
            tell.send(signals::me()).unwrap();
            not_before(timeout, wait)
        });
        let thread = told.recv().unwrap();
        while !waiter.is_finished() {
            signals::send(thread);
            thread::sleep(Duration::from_millis(1));
        }
        waiter.join().unwrap()
    })
}

#[procession::test]
fn a_signal_handler_does_not_end_a_wait() {
    let _watchdog = watchdog();
    alone("a_signal_handler_does_not_end_a_wait", || {
        signals::install();
        let (queue, lock) = (Queue::bounded(1).unwrap(), Lock::new().unwrap());
        let jobs = JoinableQueue::unbounded().unwrap();
        let timeout = Duration::from_millis(100);

        assert_eq!(
            disturbed_until(timeout, || queue.get_timeout(timeout)),
            Err(Error::Timeout)
        );
        assert_eq!(disturbed(|| queue.get(), || queue.put(5).unwrap()), Ok(5));

        queue.put(1).unwrap();
        assert!(disturbed_until(timeout, || queue.put_timeout(2, timeout)).is_err());
        assert!(disturbed(|| queue.put(2), || assert_eq!(queue.get(), Ok(1))).is_ok());

        let guard = lock.lock().unwrap();
        assert!(disturbed_until(timeout, || lock.lock_timeout(timeout).is_err()));
        assert!(disturbed(|| lock.lock().map(drop).is_ok(), || drop(guard)));

        jobs.put(1).unwrap();
        assert_eq!(
            disturbed_until(timeout, || jobs.join_timeout(timeout)),
            Err(Error::Timeout)
        );
        assert_eq!(disturbed(|| jobs.join(), || jobs.task_done().unwrap()), Ok(()));

        for method in METHODS {
            let go_on = Queue::<()>::unbounded().unwrap();
            let process = by(method).spawn(sleep_well, go_on.clone()).unwrap();
            assert_eq!(
                disturbed_until(timeout, || process.wait_timeout(timeout)),
                Err(Error::Timeout)
            );
            assert_eq!(disturbed(|| process.join(), || go_on.shutdown()), Ok(()));
        }
    });
}

#[procession::test]
fn signal_handlers_do_not_disturb_a_start() {
    let _watchdog = watchdog();
    alone("signal_handlers_do_not_disturb_a_start", || {
        signals::install();
        for method in METHODS {
            let started: usize = thread::scope(|scope| {
                let (tell, told) = std::sync::mpsc::channel();
                let starter = scope.spawn(move || {
                    tell.send(signals::me()).unwrap();
                    (0..20)
                        .map(|_| {
                            by(method)
                                .spawn(add_one, pattern(1, 100_000))
                                .unwrap()
                                .join()
                                .unwrap()
                                .len()
                        })
                        .sum()
                });
                let thread = told.recv().unwrap();
                while !starter.is_finished() {
                    signals::send(thread);
                    thread::sleep(Duration::from_micros(100));
                }
                starter.join().unwrap()
            });
            assert_eq!(started, 20 * 100_000);
        }
    });
}

#[procession::test]
fn many_threads_start_processes() {
    let _watchdog = watchdog();
    for method in METHODS {
        thread::scope(|scope| {
            let starters = [0u32; 4].map(|_| {
                scope.spawn(move || {
                    for n in 2..12 {
                        assert_eq!(by(method).spawn(fall_over, n).unwrap().join(), Ok(n));
                    }
                })
            });
            for starter in starters {
                starter.join().unwrap();
            }
        });
    }
}

#[procession::test]
fn there_is_a_processor() {
    let here = cpu_count();
    assert!(here >= 1);
    assert_eq!(Process::spawn(cpu_count, ()).unwrap().join(), Ok(here));
}
