//! A small program in restricted environments: without system calls, process ids, /proc, descriptors or processors.

use crate::common::{METHODS, again, alone, is_again, told, watchdog};
use crate::place::{
    LATE, Teller, by_hand, reap, refuse_locks_of_descriptions, refuse_pidfds, signal, skipped,
};
use procession::{Error, Lock, LockError, Process, Queue};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::process::Command;

fn work(requests: Queue<String>, answers: Queue<String>, lock: Lock) {
    for request in requests.iter() {
        let _guard = lock.lock().unwrap();
        answers.put(request).unwrap();
    }
}

fn hold_and_die(lock: Lock) {
    lock.lock().unwrap().forget();
    signal(std::process::id() as i32, libc::SIGKILL);
}

fn is_taken_from_the_dead(lock: &Lock) -> bool {
    matches!(lock.lock_timeout(LATE), Ok(_) | Err(LockError::OwnerDied { .. }))
}

/// Uses messages of all sizes, a lock, processes, and holders that are killed. Returns an error if the environment does
/// not allow it.
fn smoke() -> Result<(), Error> {
    let lock = Lock::new()?;
    for method in METHODS {
        let (requests, answers) = (Queue::unbounded()?, Queue::unbounded()?);
        let builder = Process::builder().method(method);
        let child = builder.spawn(work, (requests.clone(), answers.clone(), lock.clone()))?;
        for len in [10, 5_000, 100_000, 3_000_000] {
            requests.put("x".repeat(len)).unwrap();
            assert_eq!(
                answers.get_timeout(LATE).map(|answer| answer.len()),
                Ok(len),
                "{method:?}"
            );
        }
        requests.shutdown();
        assert_eq!(child.join(), Ok(()), "{method:?}");
        let child = Process::builder()
            .method(method)
            .spawn(hold_and_die, lock.clone())?;
        assert!(!child.wait().unwrap().success(), "{method:?}");
        assert!(
            is_taken_from_the_dead(&lock),
            "{method:?}: a death is not noticed"
        );
    }
    // A holder that is not reaped, and that is no child of a process here.
    let told = Teller::new();
    let between = by_hand(|| {
        by_hand(|| {
            lock.lock().unwrap().forget();
            told.tell(&[1]);
            signal(std::process::id() as i32, libc::SIGKILL);
        });
        std::thread::sleep(10 * LATE);
    });
    assert_eq!(told.hear(), Some(1));
    assert!(
        is_taken_from_the_dead(&lock),
        "the death of one who is not collected is not noticed"
    );
    signal(between, libc::SIGKILL);
    reap(between);
    Ok(())
}

/// Defines a test for each environment. If `$prepare` returns false, the environment cannot be made on this machine.
macro_rules! places {
    ($($name:ident: $prepare:expr;)*) => {$(
        #[procession::test]
        fn $name() {
            let _watchdog = watchdog();
            alone(concat!("environments::", stringify!($name)), || {
                if $prepare {
                    smoke().unwrap();
                } else {
                    skipped("this is not allowed");
                }
            });
        }
    )*};
}

fn limit(resource: Resource, bytes: u64) -> bool {
    let both = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    setrlimit(resource, both).is_ok()
}

fn one_processor() -> bool {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let mut one = rustix::thread::CpuSet::new();
    one.set(
        (0..rustix::thread::CpuSet::MAX_CPU)
            .find(|&n| allowed.is_set(n))
            .unwrap(),
    );
    rustix::thread::sched_setaffinity(None, &one).is_ok()
}

places! {
    the_usual_place: true;
    pidfds_are_not_allowed: refuse_pidfds(libc::EPERM);
    there_are_no_pidfds: refuse_pidfds(libc::ENOSYS);
    there_are_no_locks_of_descriptions: refuse_locks_of_descriptions();
    there_are_neither: refuse_locks_of_descriptions() && refuse_pidfds(libc::ENOSYS);
    few_descriptors: limit(Resource::Nofile, 32);
    few_addresses: limit(Resource::As, 4 << 30);
    one_processor_is_allowed: one_processor();
}

/// Runs this test again under another command, from a copy of the program that all users may read.
fn again_under(test: &str, command: &[&str], body: impl FnOnce()) {
    if is_again() {
        return body();
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("program");
    std::fs::copy(crate::common::this_program(), &copy).unwrap();
    let mut shell = Command::new("chmod");
    shell.args(["-R", "a+rX"]).arg(folder.path()).status().unwrap();
    let (program, arguments) = command.split_first().unwrap();
    let tried = Command::new(program).args(arguments).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        return skipped(format_args!("cannot be run here: {command:?}"));
    }
    let original = again(test);
    let output = Command::new(program)
        .args(arguments)
        .arg(&copy)
        .args(original.get_args())
        .envs(original.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[procession::test]
fn the_first_process_in_a_pid_namespace() {
    let _watchdog = watchdog();
    let command = ["unshare", "--fork", "--pid", "--mount-proc"];
    again_under(
        "environments::the_first_process_in_a_pid_namespace",
        &command,
        || smoke().unwrap(),
    );
}

#[procession::test]
fn a_pid_namespace_with_the_proc_of_another() {
    let _watchdog = watchdog();
    let command = ["unshare", "--fork", "--pid"];
    again_under(
        "environments::a_pid_namespace_with_the_proc_of_another",
        &command,
        || smoke().unwrap(),
    );
}

#[procession::test]
fn a_user_that_is_not_root() {
    let _watchdog = watchdog();
    let command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    again_under("environments::a_user_that_is_not_root", &command, || {
        smoke().unwrap();
    });
}

/// Checks that the program works, or that the error names what is missing.
#[procession::test]
fn a_place_without_proc() {
    let _watchdog = watchdog();
    let command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "umount -l /proc && exec \"$@\"",
        "sh",
    ];
    again_under("environments::a_place_without_proc", &command, || {
        if let Err(error) = smoke() {
            assert!(error.to_string().contains("/proc"), "what is missing? {error}");
        }
    });
}
