//! The sanitizers, on the stable compiler: `RUSTC_BOOTSTRAP` allows flags that otherwise need a nightly compiler.
//!
//! They check the tests of everything that lives in shared memory. The standard library is compiled without them, so
//! reports about its own code are suppressed (`tsan.supp`, which also lists the other suppressions). Accesses by other
//! processes are never seen.

use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::{Failure, cargo, root, run, target};
use crate::step::Outcome;

/// The test programs that are checked.
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
    /// The build folder, below cargo's.
    folder: &'static str,
    /// The compiler flags.
    flags: &'static str,
    /// The environment variable of the runtime's options, and the options.
    options: (&'static str, String),
    /// Tests that the sanitizer cannot follow.
    skipped: &'static [&'static str],
}

/// Looks for accesses to memory that is not allocated, or was freed.
///
/// # Errors
///
/// The tests do not build, or something was found.
pub fn address(limit: Duration) -> Result<Outcome, Failure> {
    watch(
        &Sanitizer {
            folder: "asan",
            flags: "-Zsanitizer=address",
            // A process may end without freeing its memory.
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
                // A child that was forked by a program with several threads may start threads. And no process sleeps
                // for a second at its exit, because others would see it end too late.
                format!(
                    "die_after_fork=0 atexit_sleep_ms=0 suppressions={}",
                    suppressions.display()
                ),
            ),
            // The fork server must learn of a child's exit by SIGCHLD. The sanitizer delays the handler while the
            // thread is in a system call that it does not know.
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
        // With an explicit target, build scripts and macros are built without the sanitizer.
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

/// Returns the reason why a program with the sanitizer cannot be built here; `None` if it can.
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

/// Returns the compiler's default target.
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
