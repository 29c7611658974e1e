//! Shared by the tests: a watchdog, fresh programs, and processes as /proc shows them.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod python;

use procession::StartMethod;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, setrlimit,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

/// Every way to start a process.
pub const METHODS: [StartMethod; 3] = [StartMethod::Spawn, StartMethod::ForkServer, StartMethod::Fork];

/// Long enough for a waiting thread to have fallen asleep. A test must not fail if the thread has not.
pub const A_WHILE: Duration = Duration::from_millis(50);

/// Aborts the test program if it is not dropped in time, so that a hang is a failure that names the test.
#[must_use]
pub struct Watchdog {
    done: Option<Sender<()>>,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Processes or threads that a failed test leaves behind could keep the program from ending, so the watchdog
        // stays.
        if std::thread::panicking() {
            core::mem::forget(self.done.take());
        }
    }
}

/// Starts a watchdog of five minutes: long enough for a slow and busy machine.
pub fn watchdog() -> Watchdog {
    watchdog_of(300)
}

/// The messages of panics, in case the test harness cannot print them.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Ok(mut panics) = PANICS.try_lock() {
                panics.push(panic.to_string());
            }
            usual(panic);
        }));
    });
}

/// Starts a watchdog of `seconds` seconds.
pub fn watchdog_of(seconds: u64) -> Watchdog {
    remember_panics();
    let (done, end) = channel();
    let test = std::thread::current().name().unwrap_or("main").to_owned();
    std::thread::spawn(move || {
        if end.recv_timeout(Duration::from_secs(seconds)) == Err(RecvTimeoutError::Timeout) {
            // Written without `eprintln`, whose output the test harness may hold back.
            let panics = PANICS
                .try_lock()
                .map(|panics| panics.join("\n"))
                .unwrap_or_default();
            let text =
                format!("\nwatchdog: the test {test:?} still runs after {seconds} seconds\n{panics}\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
            kill_the_family();
            std::process::abort();
        }
    });
    Watchdog { done: Some(done) }
}

/// Waits until `condition` holds; otherwise only a watchdog ends the wait.
pub fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `wait`, and checks that it did not return before the timeout.
pub fn not_before<T>(timeout: Duration, wait: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = wait();
    assert!(
        start.elapsed() >= timeout,
        "came back after {:?} of {timeout:?}",
        start.elapsed()
    );
    answer
}

/// The environment variable that names the test for which a fresh program runs.
const FRESH: &str = "PROCESSION_TEST_FRESH";

/// Runs `body` in a program of its own: a new process that runs only this test. For tests that affect a whole program.
pub fn alone(test: &str, body: impl FnOnce()) {
    alone_with(test, &[], body);
}

/// Does the same as [`alone`], with environment variables.
pub fn alone_with(test: &str, env: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var(FRESH).is_ok_and(|fresh| fresh == test) {
        let outcome = catch_unwind(AssertUnwindSafe(body));
        if outcome.is_err() {
            // The program would wait for its processes, which may wait for the program.
            kill_the_family();
        }
        return outcome.unwrap_or_else(|panic| resume_unwind(panic));
    }
    let output = again(test)
        .envs(env.iter().copied())
        .output()
        .expect("the test program can be started again");
    assert!(output.status.success(), "{}", told(&output));
}

/// Returns the command that runs only `test` in a new process. There [`alone`] runs the body.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(this_program());
    command
        .args([
            test,
            "--exact",
            "--nocapture",
            "--include-ignored",
            "--test-threads=1",
        ])
        .env(FRESH, test);
    command
}

/// Returns whether this is the program that [`again`] started.
pub fn is_again() -> bool {
    std::env::var_os(FRESH).is_some()
}

/// Returns the file of this test program.
pub fn this_program() -> PathBuf {
    std::env::current_exe().expect("the test program has a path")
}

/// Returns a text about how a program ended and what it wrote.
pub fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A process as /proc shows it.
#[derive(Debug)]
pub struct Seen {
    pub pid: i32,
    pub state: char,
    pub parent: i32,
    pub name: String,
}

impl Seen {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (front, back) = stat.rsplit_once(')')?;
        let mut fields = back.split_whitespace();
        Some(Self {
            pid,
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            name: front.split_once('(')?.1.to_owned(),
        })
    }

    fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Returns all processes, zombies too.
pub fn processes() -> Vec<Seen> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be read");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Seen::of)
        .collect()
}

/// Kills every process that descends from this one, or that shares the heap of this process or of a descendant.
fn kill_the_family() {
    // A test may have lowered the limit of descriptors so that no descriptor is left to read /proc with.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
    let me = std::process::id();
    let family = family(me);
    let heaps: Vec<_> = family.iter().filter_map(|&pid| heap_of(pid)).collect();
    for seen in processes() {
        let related =
            family.contains(&seen.pid) || heap_of(seen.pid).is_some_and(|heap| heaps.contains(&heap));
        if related && seen.pid != me as i32 {
            seen.kill();
        }
    }
}

/// Returns the process ids of a process and of all its descendants, except those whose parents are gone.
pub fn family(of: u32) -> Vec<i32> {
    let all = processes();
    let mut family = vec![of as i32];
    while let Some(seen) = all
        .iter()
        .find(|seen| family.contains(&seen.parent) && !family.contains(&seen.pid))
    {
        family.push(seen.pid);
    }
    family
}

/// Returns the inode number of the file that holds a process's heap.
fn heap_of(pid: i32) -> Option<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.contains("/memfd:procession"))?;
    line.split_whitespace().nth(4).map(ToOwned::to_owned)
}

/// Returns the children of this process, zombies too.
pub fn own_children() -> Vec<Seen> {
    let me = std::process::id() as i32;
    processes().into_iter().filter(|seen| seen.parent == me).collect()
}

/// Returns whether any thread of a process runs. (/proc shows a process as dead when its first thread is.)
pub fn runs(pid: u32) -> bool {
    let pid = Pid::from_raw(pid as i32).expect("the number of a process");
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)) == Ok(0)
}

/// Returns `len` bytes that depend only on `seed`, so that a receiver can check them without a copy.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend_from_slice(&x.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
