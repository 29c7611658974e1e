//! Python: which interpreters there are, the wheel, and an environment of our own for each interpreter.
//!
//! Everything lies below `python` in the folder that cargo builds into, by the interpreter's version.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::child::{root, target};

pub mod check;
pub mod environment;
pub mod interpreter;
pub mod wheel;

/// Where everything about Python is built.
pub fn folder() -> PathBuf {
    target().join("python")
}

/// Where cargo builds the package's Rust code, which is a workspace of its own.
pub fn build_folder() -> PathBuf {
    target().join("python-build")
}

/// The project's Python package in this checkout.
pub fn package() -> PathBuf {
    root().join("python")
}

/// Whether this checkout holds the Python package.
pub fn has_package() -> bool {
    package().join("pyproject.toml").exists()
}

/// An interpreter, to be run at the top of this checkout, without what a user's own settings would change.
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
