//! One class of tests with one start method, in a process of its own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::outcome::ClassResult;
use super::record::conclude;
use super::scripts;
use crate::child::{Failure, run_alone};
use crate::python::command;

/// The time that the tests of a class may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The `multiprocessing` that is tested.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    Ours,
    Stdlib,
}

impl Side {
    /// Returns the name of the module that `multiprocessing` should be.
    pub fn module(self) -> &'static str {
        match self {
            Self::Ours => "procession",
            Self::Stdlib => "multiprocessing",
        }
    }

    /// Returns the name of the folder for results.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Stdlib => "stdlib",
        }
    }
}

/// The job.
pub struct Job {
    pub side: Side,
    /// The interpreter that runs the job.
    pub program: PathBuf,
    /// The folder for the results of this interpreter.
    pub folder: PathBuf,
    pub method: String,
    pub class: String,
    /// The tests of the class.
    pub tests: Vec<String>,
}

impl Job {
    /// Returns the file with the output of the tests.
    pub fn output(&self) -> PathBuf {
        self.file("log")
    }

    /// Returns the result of an earlier run, if it was clean, and the scripts have not changed since.
    pub fn earlier(&self) -> Option<ClassResult> {
        let fresh = fs::metadata(self.file("json")).ok()?.modified().ok()? > scripts::newest().ok()?;
        self.last().filter(|result| fresh && result.is_clean())
    }

    /// Returns the time that the job took in the last run.
    pub fn last_seconds(&self) -> Option<f64> {
        Some(self.last()?.seconds)
    }

    fn last(&self) -> Option<ClassResult> {
        serde_json::from_slice(&fs::read(self.file("json")).ok()?).ok()
    }

    /// Runs the job, for `limit` at most and no longer than a class may take.
    ///
    /// # Errors
    ///
    /// The job cannot be run, or the user asked to stop.
    pub fn run(&self, limit: Duration) -> Result<ClassResult, Failure> {
        let scratch = tempfile::Builder::new().prefix("procession").tempdir()?;
        let lines = scratch.path().join("results");
        let log = scratch.path().join("log");
        let desk = scratch.path().join("d"); // the names of sockets in it must be short
        fs::create_dir(&desk)?;
        fs::create_dir_all(self.output().parent().unwrap_or(&self.folder))?;
        let output = File::create(self.output())?;

        let mut python = command(&self.program);
        python
            .arg(scripts::folder().join("run_class.py"))
            .args([&self.method, &self.class])
            .arg(&lines)
            .current_dir(&desk)
            .env("TMPDIR", &desk)
            .env("PROCESSION_CONFORMANCE_LOG", &log)
            .stdout(output.try_clone()?)
            .stderr(output);
        let start = Instant::now();
        let end = run_alone(&mut python, limit.min(LIMIT));
        if matches!(end, Err(Failure::Interrupted)) {
            return Err(Failure::Interrupted);
        }
        let (lines, log) = (text(&lines)?, text(&log)?);
        let mut result = conclude(&self.tests, &lines, &log, end, self.side.module());
        result.seconds = start.elapsed().as_secs_f64();
        let json = serde_json::to_vec(&result).map_err(io::Error::from)?;
        fs::write(self.file("json"), json)?;
        Ok(result)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder
            .join(self.side.folder())
            .join(&self.method)
            .join(format!("{}.{extension}", self.class))
    }
}

/// Reads a file that may be missing, and may hold any bytes.
fn text(file: &Path) -> io::Result<String> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        bytes => Ok(String::from_utf8_lossy(&bytes?).into_owned()),
    }
}
