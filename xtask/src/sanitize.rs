//! The sanitizers, on the stable compiler: `RUSTC_BOOTSTRAP` allows what otherwise takes a nightly one.
//!
//! They watch the tests of everything that lives in shared memory. The standard library comes compiled without them, so
//! what is told of its own code is left out (`tsan.supp`, which says what else is). Another process's accesses are never
//! seen.

use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::{Failure, cargo, root, run, target};
use crate::step::Outcome;

/// The test programs that are watched.
const TESTS: &[&str] = &[
    "queue",
    "lock",
    "semaphore",
    "rlock",
    "condition",
    "event",
    "barrier",
    "shared",
    "pipe",
    "select",
    "thread",
];

/// A sanitizer.
struct Sanitizer {
    /// The folder that it is built into, below cargo's.
    folder: &'static str,
    /// What the compiler is told.
    flags: &'static str,
    /// The variable with the options of its runtime, and these.
    options: (&'static str, String),
    /// Tests that it cannot follow.
    skipped: &'static [&'static str],
}

/// Looks for accesses to memory that is not there, or not any more.
///
/// # Errors
///
/// The tests do not build, or something was found.
pub fn address(limit: Duration) -> Result<Outcome, Failure> {
    watch(
        &Sanitizer {
            folder: "asan",
            flags: "-Zsanitizer=address",
            // A process may end while it still has much.
            options: ("ASAN_OPTIONS", "detect_leaks=0".to_owned()),
            skipped: &[],
        },
        limit,
    )
}

/// Looks for data races among the threads of a process.
///
/// # Errors
///
/// The tests do not build, or something was found.
pub fn thread(limit: Duration) -> Result<Outcome, Failure> {
    let suppressions = root().join("xtask/tsan.supp");
    watch(
        &Sanitizer {
            folder: "tsan",
            flags: "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
            options: (
                "TSAN_OPTIONS",
                // A child that was forked by a program with several threads may start some of its own. And no process
                // stays for a second after its end: others have been told of it by then.
                format!(
                    "die_after_fork=0 atexit_sleep_ms=0 suppressions={}",
                    suppressions.display()
                ),
            ),
            // The fork server is to hear of a child's exit(3) by SIGCHLD. The handler is held back while the thread is
            // in a system call that the sanitizer does not know.
            skipped: &["processes_that_end_give_their_memory_back"],
        },
        limit,
    )
}

/// Builds the tests with the sanitizer and runs them.
fn watch(sanitizer: &Sanitizer, limit: Duration) -> Result<Outcome, Failure> {
    let host = host()?;
    if let Some(reason) = refusal(sanitizer, &host)? {
        return Ok(Outcome::Skipped(reason));
    }
    let mut flags = env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(" ");
    flags.push(sanitizer.flags);
    let (variable, options) = &sanitizer.options;
    let mut command = cargo();
    command
        // With a target of their own, build scripts and macros are built without.
        .args(["test", "--no-fail-fast", "--target", &host])
        .args(TESTS.iter().flat_map(|test| ["--test", test]))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", target().join(sanitizer.folder))
        .env(variable, options);
    if !sanitizer.skipped.is_empty() {
        command.arg("--");
        command.args(sanitizer.skipped.iter().flat_map(|test| ["--skip", test]));
    }
    run(&mut command, limit).map(|()| Outcome::Passed)
}

/// Returns why a program with the sanitizer cannot be made here; `None` if it can.
fn refusal(sanitizer: &Sanitizer, host: &str) -> Result<Option<String>, Failure> {
    let folder = target().join(sanitizer.folder);
    fs::create_dir_all(&folder)?;
    let source = folder.join("probe.rs");
    fs::write(&source, "fn main() {}\n")?;
    let output = rustc()
        .env("RUSTC_BOOTSTRAP", "1")
        .args(sanitizer.flags.split_whitespace())
        .args(["--target", host, "--out-dir"])
        .args([&folder, &source])
        .output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().find(|line| line.starts_with("error"));
    Ok(Some(format!(
        "the compiler refuses: {}",
        first.unwrap_or("it does not say why")
    )))
}

/// Returns what the compiler builds for unless it is told otherwise.
fn host() -> Result<String, Failure> {
    let output = rustc().arg("-vV").output()?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| Failure::Other("rustc does not say what it builds for".to_owned()))
}

fn rustc() -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}
