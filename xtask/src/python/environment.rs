//! A virtual environment of our own for an interpreter, with the wheel in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use super::interpreter::Interpreter;
use super::{command, package, wheel};
use crate::child::{Failure, run};

/// A virtual environment.
pub struct Environment {
    folder: PathBuf,
    minor: (u32, u32),
}

impl Environment {
    /// Makes the environment of an interpreter, unless it exists.
    ///
    /// # Errors
    ///
    /// The interpreter cannot make it.
    pub fn of(interpreter: &Interpreter, limit: Duration) -> Result<Self, Failure> {
        let environment = Self {
            folder: interpreter.folder().join("venv"),
            minor: interpreter.minor(),
        };
        let whose = interpreter.executable.display().to_string();
        environment.once("interpreter", &whose, || {
            let mut make = command(&interpreter.executable);
            make.args(["-m", "venv", "--clear"]).arg(&environment.folder);
            run(&mut make, limit)
        })?;
        Ok(environment)
    }

    /// Returns the environment's interpreter.
    pub fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// Returns the folder of an installed package.
    pub fn installed(&self, package: &str) -> PathBuf {
        let (major, minor) = self.minor;
        self.folder
            .join(format!("lib/python{major}.{minor}/site-packages"))
            .join(package)
    }

    /// Builds the wheel if need be, and installs it.
    ///
    /// # Errors
    ///
    /// The wheel does not build, or cannot be installed.
    pub fn install_wheel(&self, limit: Duration) -> Result<(), Failure> {
        let wheel = wheel::build(self, limit)?;
        let age = fs::metadata(&wheel)?
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.once(
            "wheel",
            &format!("{} {}", wheel.display(), age.as_nanos()),
            || {
                let mut install = self.pip();
                install.args(["--no-deps", "--force-reinstall"]).arg(&wheel);
                run(&mut install, limit)
            },
        )
    }

    /// Installs the other packages that the tests need.
    ///
    /// # Errors
    ///
    /// A package cannot be installed.
    pub fn install_tools(&self, limit: Duration) -> Result<(), Failure> {
        let list = package().join("requirements-test.txt");
        let wanted = fs::read_to_string(&list)
            .map_err(|error| Failure::Other(format!("{}: {error}", list.display())))?;
        self.once("tools", &wanted, || {
            let mut install = self.pip();
            install.arg("--requirement").arg(&list);
            run(&mut install, limit)
        })
    }

    /// Installs one more package.
    ///
    /// # Errors
    ///
    /// It cannot be installed.
    pub fn install(&self, package: &str, limit: Duration) -> Result<(), Failure> {
        self.once(package, package, || run(self.pip().arg(package), limit))
    }

    fn pip(&self) -> Command {
        let mut pip = command(self.python());
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip
    }

    /// Does something unless it was done with the same `words` before.
    fn once(
        &self,
        what: &str,
        words: &str,
        work: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let note = self.folder.join(format!("installed-{what}"));
        if fs::read_to_string(&note).is_ok_and(|done| done == words) {
            return Ok(());
        }
        remove(&note)?;
        work()?;
        Ok(fs::write(note, words)?)
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
