//! The end of a program, and what then happens to its processes.

mod common;

use common::{METHODS, again, alone, is_again, told, watchdog};
use procession::{Process, Queue, StartMethod};
use std::process::Output;
use std::time::Duration;

/// The environment variable that says how the program should end.
const ROLE: &str = "PROCESSION_TEST_ROLE";

/// Runs `program` if this is a fresh copy of the test. Otherwise runs one such copy for each role, and passes on how
/// each ended. This waits until no process has their standard output any more, so until all their processes are gone.
fn programs(test: &str, roles: &[&str], program: impl FnOnce(&str), check: impl Fn(&str, &Output)) {
    if is_again() {
        return program(&std::env::var(ROLE).unwrap());
    }
    let _watchdog = watchdog();
    for role in roles {
        let output = again(test).env(ROLE, role).output().unwrap();
        check(role, &output);
    }
}

fn wait_for_ever(ready: Queue<u32>, never: Queue<u32>) {
    ready.put(std::process::id()).unwrap();
    let _ = never.get();
}

/// Starts a child that waits for ever, and waits for it.
fn parent(method: u8, ready: Queue<u32>, never: Queue<u32>) {
    let child = Process::builder().method(METHODS[usize::from(method)]);
    let child = child.spawn(wait_for_ever, (ready, never)).unwrap();
    let _ = child.join();
}

/// Starts children, and children of children, which wait for a message that never comes.
fn hopeless() -> Vec<Process<()>> {
    let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let mut all = Vec::new();
    for (number, method) in METHODS.into_iter().enumerate() {
        let child = || Process::builder().method(method);
        all.push(
            child()
                .spawn(wait_for_ever, (ready.clone(), never.clone()))
                .unwrap(),
        );
        let args = (number as u8, ready.clone(), never.clone());
        all.push(child().spawn(parent, args).unwrap());
    }
    (0..all.len()).for_each(|_| _ = ready.get().unwrap());
    all
}

#[procession::test]
fn a_program_that_ends_by_an_error_ends_its_processes() {
    programs(
        "a_program_that_ends_by_an_error_ends_its_processes",
        &["exit", "panic", "handles are gone"],
        |role| {
            let all = hopeless();
            match role {
                "exit" => std::process::exit(3),
                "panic" => panic!("on purpose"),
                _ => drop(all),
            }
            std::process::exit(256 + 7);
        },
        |role, output| {
            let code = [("exit", 3), ("panic", 101), ("handles are gone", 7)]
                .into_iter()
                .find(|it| it.0 == role);
            assert_eq!(output.status.code(), code.map(|it| it.1), "{}", told(output));
        },
    );
}

#[allow(unsafe_code)]
fn ignore_and_wait(ready: Queue<u32>, never: Queue<u32>) {
    // SAFETY: setting a standard disposition.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    wait_for_ever(ready, never);
}

extern "C" fn say_and_exit(_: i32) {
    let _ = rustix::io::write(rustix::stdio::stdout(), b"put in order\n");
    std::process::exit(0);
}

#[allow(unsafe_code)]
fn put_in_order_and_end(ready: Queue<u32>) {
    // SAFETY: only the handler runs when the signal comes, because this thread sleeps.
    unsafe { libc::signal(libc::SIGTERM, say_and_exit as *const () as usize) };
    ready.put(0).unwrap();
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[procession::test]
fn they_are_asked_to_end_before_they_are_made_to() {
    programs(
        "they_are_asked_to_end_before_they_are_made_to",
        &["exit"],
        |_| {
            for method in METHODS {
                let (ready, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
                let child = || Process::builder().method(method);
                let _one = child().spawn(ignore_and_wait, (ready.clone(), never)).unwrap();
                let _two = child().spawn(put_in_order_and_end, ready.clone()).unwrap();
                (0..2).for_each(|_| _ = ready.get().unwrap());
            }
            std::process::exit(3);
        },
        |_, output| {
            assert_eq!(output.status.code(), Some(3), "{}", told(output));
            let said = String::from_utf8_lossy(&output.stdout)
                .matches("put in order")
                .count();
            assert_eq!(said, 3, "{}", told(output));
        },
    );
}

#[procession::test]
fn a_process_that_ends_by_a_panic_ends_its_own() {
    alone("a_process_that_ends_by_a_panic_ends_its_own", || {
        let _watchdog = watchdog();
        for method in METHODS {
            let failed = Process::builder()
                .method(method)
                .spawn(have_children_and_panic, ())
                .unwrap();
            assert!(failed.join().is_err());
        }
        assert!(Process::fork(have_children_and_panic).unwrap().join().is_err());
    });
}

fn have_children_and_panic() {
    let _children = hopeless();
    panic!("on purpose");
}

fn wait_a_while(never: Queue<()>) {
    let _ = never.get_timeout(Duration::from_millis(2_500));
}

fn work_a_while() {
    std::thread::sleep(Duration::from_millis(2_500));
}

#[procession::test]
fn a_program_that_ends_well_waits_and_says_for_whom() {
    programs(
        "a_program_that_ends_well_waits_and_says_for_whom",
        &["waits", "works", "many", "nobody", "daemon"],
        |role| {
            let never = Queue::unbounded().unwrap();
            let child = |name: &str| Process::builder().name(name).method(StartMethod::Fork);
            let guest = || drop(child("guest").spawn(wait_a_while, never.clone()).unwrap());
            match role {
                "waits" => guest(),
                "works" => drop(child("cook").spawn(work_a_while, ()).unwrap()),
                "many" => (0..6).for_each(|_| guest()),
                "nobody" => child("cook").spawn(work_a_while, ()).unwrap().join().unwrap(),
                _ => drop(child("cook").daemon(true).spawn(work_a_while, ()).unwrap()),
            }
        },
        |role, output| {
            assert!(output.status.success(), "{role}: {}", told(output));
            let said = String::from_utf8_lossy(&output.stderr);
            let said: Vec<_> = said
                .lines()
                .filter(|line| line.starts_with("procession: "))
                .collect();
            let is = |line: &str, name: &str, rest: &str| {
                line.starts_with(&format!("procession: waiting for {name:?} (pid ")) && line.contains(rest)
            };
            let waits = |line: &&str| {
                is(line, "guest", "), which waits for queue ") && line.contains(" (get) since ")
            };
            let right = match role {
                "waits" => said.len() == 1 && said.iter().all(waits),
                "works" => said.len() == 1 && said[0].ends_with(')') && is(said[0], "cook", ")"),
                "many" => {
                    said.len() == 5
                        && said[..4].iter().all(waits)
                        && said[4].ends_with("waiting for 2 others")
                }
                _ => said.is_empty(),
            };
            assert!(right, "{role}: {said:?}");
        },
    );
}
