//! Nothing is left behind: after a program ends, however it ends, none of its processes and files are left. While it
//! runs, descriptors and memory do not grow. `PROCESSION_LONG=1` tries more often.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{METHODS, again, until, watchdog_of};
use procession::{ByteQueue, Lock, Process, Queue, StartMethod};
use random::{Random, long};
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The environment variable that marks the program whose processes are counted; each of its processes inherits the
/// mark.
const MARK: &str = "PROCESSION_LEAK_MARK";
/// The environment variable that says what the program should do.
const ROLE: &str = "PROCESSION_LEAK_ROLE";

/// Returns the pids of the living processes that have `mark` in their environment.
fn processes(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // A zombie has no environment left. Its parent has to reap it, and it is counted elsewhere.
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environ
            .split(|&byte| byte == 0)
            .any(|variable| variable == wanted.as_bytes())
        {
            found.push(pid);
        }
    }
    found
}

fn files() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["/dev/shm".into(), std::env::temp_dir()] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            names.insert(entry.path().display().to_string());
        }
    }
    names.retain(|name| name.to_lowercase().contains("procession"));
    names
}

fn wait_for_ever(queue: Queue<u8>) {
    let _ = queue.get();
}

/// Runs as a daemon without end, like `wait_for_ever`, but is always in the middle of some operation when it is killed.
fn work_for_ever(queue: Queue<Vec<u8>>, lock: Lock) {
    for n in 0u64.. {
        let _guard = lock.lock();
        let _ = queue.put(vec![1; (n % 20_000) as usize]);
        let _ = queue.get();
    }
}

/// Runs as a child that is not a daemon and has daemons; ends when it is told to.
fn middle(end: Queue<u8>, ready: Queue<u8>) {
    let nothing = Queue::<u8>::unbounded().unwrap();
    let daemons: Vec<_> = METHODS
        .iter()
        .map(|&m| {
            Process::builder()
                .daemon(true)
                .method(m)
                .spawn(wait_for_ever, nothing.clone())
                .unwrap()
        })
        .collect();
    ready.put(1).unwrap();
    let _ = end.get();
    drop(daemons);
}

/// Runs the observed program, which has processes of every kind.
fn program(role: &str) {
    let (nothing, end, ready) = (
        Queue::unbounded().unwrap(),
        Queue::unbounded().unwrap(),
        Queue::unbounded().unwrap(),
    );
    let (busy, lock) = (Queue::unbounded().unwrap(), Lock::new().unwrap());
    let mut daemons = Vec::new();
    for method in METHODS {
        let daemon = || Process::builder().daemon(true).method(method);
        daemons.push(daemon().spawn(wait_for_ever, nothing.clone()).unwrap());
        daemons.push(
            daemon()
                .spawn(work_for_ever, (busy.clone(), lock.clone()))
                .unwrap(),
        );
    }
    let mut middles = Vec::new();
    if role != "daemons" {
        for method in METHODS {
            middles.push(
                Process::builder()
                    .method(method)
                    .spawn(middle, (end.clone(), ready.clone()))
                    .unwrap(),
            );
            ready.get().unwrap();
        }
    }
    println!("ready");
    if role == "ends" {
        end.put_many([1, 2, 3]).unwrap();
        // Handles are dropped without a join: the program still waits for these processes.
        return;
    }
    let _ = nothing.get();
}

/// Starts `program` in a fresh copy of this test, and waits until it is ready.
fn start(test: &str, role: &str, mark: &str) -> Child {
    use std::io::{BufRead, BufReader};
    let mut command = again(test);
    command
        .env(MARK, mark)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stdin(Stdio::null());
    let mut child = command.spawn().expect("the test program can be started again");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(
            out.read_line(&mut line).expect("a pipe") > 0,
            "the program ended before it was ready"
        );
    }
    // All other output is read too, or the program would end by a broken pipe.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    child
}

/// Runs the program instead of the test, if this is the copy.
fn is_program() -> bool {
    let Ok(role) = std::env::var(ROLE) else {
        return false;
    };
    program(&role);
    true
}

fn mark(name: &str, n: u64) -> String {
    format!("{name}-{}-{n}", std::process::id())
}

#[procession::test]
fn daemons_end_with_the_first_process() {
    if is_program() {
        return;
    }
    let _watchdog = watchdog_of(300);
    let before = files();
    for n in 0..long(5) {
        let mark = mark("daemons", n);
        let mut child = start("daemons_end_with_the_first_process", "daemons", &mark);
        assert!(processes(&mark).len() >= 7, "the program has its daemons");
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        until(|| processes(&mark).is_empty());
    }
    assert_eq!(files(), before);
}

#[procession::test]
fn a_program_that_ends_leaves_nothing() {
    if is_program() {
        return;
    }
    let _watchdog = watchdog_of(300);
    let before = files();
    for n in 0..long(3) {
        let mark = mark("ends", n);
        let mut child = start("a_program_that_ends_leaves_nothing", "ends", &mark);
        assert!(child.wait().expect("its end").success());
        until(|| processes(&mark).is_empty());
    }
    assert_eq!(files(), before);
}

#[procession::test]
fn every_process_is_killed_in_any_order() {
    if is_program() {
        return;
    }
    let _watchdog = watchdog_of(300);
    let before = files();
    for n in 0..long(5) {
        let mark = mark("killed", n);
        let mut random = Random::new(n + 1);
        let mut child = start("every_process_is_killed_in_any_order", "stays", &mark);
        loop {
            let left = processes(&mark);
            if left.is_empty() {
                break;
            }
            let victim = left[random.below(left.len() as u64) as usize];
            let pid = rustix::process::Pid::from_raw(victim).expect("a pid");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = child.try_wait();
        }
        child.wait().expect("its end");
    }
    assert_eq!(files(), before);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

#[procession::test]
fn descriptors_do_not_grow() {
    let _watchdog = watchdog_of(300);
    common::alone("descriptors_do_not_grow", || {
        let locks: Vec<_> = (0..10_000).map(|_| Lock::new().unwrap()).collect();
        let pipes: Vec<_> = (0..100).map(|_| procession::pipe::<u8, u8>().unwrap()).collect();
        let queue = Queue::unbounded().unwrap();
        queue.put_many(0..1_000_000u64).unwrap();
        assert!(descriptors() <= 16, "{} descriptors", descriptors());
        let resident = procession::resident_bytes().unwrap();
        assert!(resident < 64 << 20, "{resident} bytes");
        assert_eq!((0..1_000_000u64).find(|&n| queue.get().unwrap() != n), None);
        drop((locks, pipes, queue));
        let resident = procession::resident_bytes().unwrap();
        assert!(resident < 16 << 20, "{resident} bytes are left");
    });
}

fn empty(queue: ByteQueue) -> u64 {
    let mut bytes = 0;
    while let Ok(message) = queue.get() {
        bytes += message.len() as u64;
    }
    bytes
}

#[procession::test]
fn a_burst_gives_its_memory_back() {
    let _watchdog = watchdog_of(300);
    common::alone("a_burst_gives_its_memory_back", || {
        for size in [64 << 10, 1 << 20, 16 << 20] {
            let queue = ByteQueue::unbounded().unwrap();
            let before = procession::resident_bytes().unwrap();
            for _ in 0..(1 << 30) / size {
                queue.put(&vec![7; size]).unwrap();
            }
            assert!(procession::resident_bytes().unwrap() >= 1 << 30);
            queue.shutdown();
            assert_eq!(Process::spawn(empty, queue).unwrap().join().unwrap(), 1 << 30);
            let after = procession::resident_bytes().unwrap();
            assert!(
                after < before + (16 << 20),
                "{size}: {before} bytes before, {after} after"
            );
        }
    });
}

fn answer(queue: Queue<u64>, lock: Lock) -> Queue<u64> {
    let _guard = lock.lock();
    let own = Queue::unbounded().unwrap();
    own.put(queue.get().unwrap()).unwrap();
    own
}

#[procession::test]
fn months_of_processes() {
    let _watchdog = watchdog_of(600);
    common::alone("months_of_processes", || {
        let mut first = None;
        for n in 0..long(300) {
            let queue = Queue::unbounded().unwrap();
            queue.put(n).unwrap();
            let method = [StartMethod::ForkServer, StartMethod::Fork][n as usize % 2];
            let builder = Process::builder().method(method);
            let process = builder.spawn(answer, (queue, Lock::new().unwrap())).unwrap();
            assert_eq!(process.join().unwrap().get().unwrap(), n);
            if n == 20 {
                first = Some((procession::resident_bytes().unwrap(), descriptors()));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(
            first,
            Some((procession::resident_bytes().unwrap(), descriptors())),
            "it grows"
        );
    });
}
