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

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Why a command is not a success.
pub enum Failure {
    /// It ended, and not well.
    Status(ExitStatus),
    /// It ran for longer than it may, and was killed.
    Overdue(Duration),
    /// The user asked to stop, and it was killed.
    Interrupted,
    /// Something else is wrong.
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

/// The top folder of this checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in a folder of the checkout")
}

/// The folder that cargo builds into.
pub fn target() -> std::path::PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// `cargo`, to be run at the top of this checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Whether `cargo <subcommand> --version` works.
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
    let stop = stop_flag();
    let start = Instant::now();
    let mut child = command.process_group(0).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() {
                Ok(())
            } else {
                Err(Failure::Status(status))
            };
        }
        if stop.load(Ordering::Relaxed) {
            kill_group(&mut child);
            return Err(Failure::Interrupted);
        }
        if start.elapsed() >= limit {
            kill_group(&mut child);
            return Err(Failure::Overdue(limit));
        }
        thread::sleep(LOOK);
    }
}

fn kill_group(child: &mut Child) {
    // The child is not reaped yet, so the id is still its own. Both calls can only fail when it is gone.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// Set once Ctrl-C or its like has arrived.
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
