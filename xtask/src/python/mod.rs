//! Python: which interpreters there are, the wheel, and an environment of our own for each interpreter.
//!
//! All files are below `python` in the folder that cargo builds into, by the interpreter's version.

use std::fs::{self, File, TryLockError};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::child::{Failure, interrupted, root, target};

pub mod check;
pub mod environment;
pub mod interpreter;
pub mod ruff;
pub mod wheel;

/// Returns the folder in which everything for Python is built.
pub fn folder() -> PathBuf {
    target().join("python")
}

/// Returns the folder in which cargo builds the package's Rust code, which is a workspace of its own.
pub fn build_folder() -> PathBuf {
    target().join("python-build")
}

/// Returns the project's Python package in this checkout.
pub fn package() -> PathBuf {
    root().join("python")
}

/// Returns whether this checkout has the Python package.
pub fn has_package() -> bool {
    package().join("pyproject.toml").exists()
}

/// Waits until no other run uses the files that are built here. No other run uses them until the returned file is
/// closed.
///
/// # Errors
///
/// The file cannot be made, or the user asked to stop.
pub fn take_turn() -> Result<File, Failure> {
    fs::create_dir_all(folder())?;
    let file = File::create(folder().join("lock"))?;
    let mut told = false;
    while let Err(error) = file.try_lock() {
        if let TryLockError::Error(error) = error {
            return Err(error.into());
        }
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        if !told {
            println!("another run uses {}; waiting for it to end", folder().display());
            told = true;
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(file)
}

/// Returns a command of an interpreter, run at the top of this checkout, without the user's own settings.
pub fn command(executable: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(executable.into());
    command.current_dir(root()).stdin(Stdio::null());
    for variable in [
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONWARNINGS",
        "VIRTUAL_ENV",
    ] {
        command.env_remove(variable);
    }
    command
}
