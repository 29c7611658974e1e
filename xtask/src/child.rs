//! Commands that run in a process group of their own, so that a deadline or Ctrl-C ends all of it.

use std::env;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The time between two checks of a running command.
const LOOK: Duration = Duration::from_millis(20);

/// The time that a process at its limit may take to report where it hangs.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The reason why a command failed.
pub enum Failure {
    /// It ended with a failure.
    Status(ExitStatus),
    /// It ran longer than its limit, and was killed.
    Overdue(Duration),
    /// The user asked to stop, and it was killed.
    Interrupted,
    /// Any other failure.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Overdue(limit) => write!(f, "killed after {} s", limit.as_secs()),
            Self::Interrupted => write!(f, "interrupted"),
            Self::Other(reason) => write!(f, "{reason}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// Returns the top folder of this checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in a folder of the checkout")
}

/// Returns the folder that cargo builds into.
pub fn target() -> std::path::PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Returns a command of `cargo`, run at the top of this checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Tells whether `cargo <subcommand> --version` works.
pub fn has_cargo(subcommand: &str) -> bool {
    let mut command = cargo();
    command
        .args([subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command to its end, or kills its process group at the limit or when the user asks to stop.
///
/// # Errors
///
/// Anything but an exit with code 0.
pub fn run(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let mut child = command.process_group(0).spawn()?;
    match watch(&mut child, limit) {
        Ok(()) => verdict(child.wait()?),
        Err(failure) => {
            let _ = kill_group(&mut child); // the reason for the kill matters more
            Err(failure)
        }
    }
}

/// Does the same as [`run`] for a test that may fail in any way. Its whole process group is killed, however it ends. At
/// the limit `SIGABRT` comes first, so that a handler can report where the test hangs.
///
/// # Errors
///
/// Anything but an exit with code 0.
pub fn run_alone(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let mut child = command.process_group(0).spawn()?;
    let end = watch(&mut child, limit);
    if matches!(end, Err(Failure::Overdue(_))) {
        let _ = kill_process_group(Pid::from_child(&child), Signal::ABORT);
        let _ = watch(&mut child, LAST_WORDS);
    }
    let status = kill_group(&mut child);
    end.and_then(|()| verdict(status?))
}

/// Tells whether the user has asked to stop.
pub fn interrupted() -> bool {
    stop_flag().load(Ordering::Relaxed)
}

/// Waits until a child has ended, and leaves it to be reaped.
fn watch(child: &mut Child, limit: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    loop {
        let id = WaitId::Pid(Pid::from_child(child));
        if waitid(id, ended).map_err(io::Error::from)?.is_some() {
            return Ok(());
        }
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        if start.elapsed() >= limit {
            return Err(Failure::Overdue(limit));
        }
        thread::sleep(LOOK);
    }
}

fn kill_group(child: &mut Child) -> io::Result<ExitStatus> {
    // The child is not reaped yet, so the id is still its own. The call can fail only if the group is empty.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    child.wait()
}

fn verdict(status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(Failure::Status(status))
}

/// Returns the flag that is set when Ctrl-C or a similar signal has arrived.
fn stop_flag() -> &'static AtomicBool {
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    STOP.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).expect("these signals can be handled");
        }
        flag
    })
}
