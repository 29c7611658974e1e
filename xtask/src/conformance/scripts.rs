//! The scripts of `python/conformance`, and the questions that they answer before a run.
//!
//! They are run from a copy, so that nothing is written into the checkout.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::child::{Failure, run_alone};
use crate::python::{self, command};

/// The time that the script that starts a few processes may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the folder of the copies.
pub fn folder() -> PathBuf {
    python::folder().join("conformance")
}

/// Makes the copies.
///
/// # Errors
///
/// A file cannot be read or written.
pub fn copy() -> io::Result<()> {
    fs::create_dir_all(folder())?;
    for script in originals()? {
        fs::copy(script.path(), folder().join(script.file_name()))?;
    }
    Ok(())
}

/// Returns when a script was last changed.
///
/// # Errors
///
/// A file cannot be read.
pub fn newest() -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for script in originals()? {
        newest = newest.max(script.metadata()?.modified()?);
    }
    Ok(newest)
}

fn originals() -> io::Result<Vec<DirEntry>> {
    let mut scripts = fs::read_dir(python::package().join("conformance"))?.collect::<io::Result<Vec<_>>>()?;
    scripts.retain(|script| {
        script
            .path()
            .extension()
            .is_some_and(|extension| extension == "py")
    });
    Ok(scripts)
}

/// Returns the classes of an interpreter's suite, and the tests of each.
///
/// # Errors
///
/// The suite does not load.
pub fn classes(program: &Path) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let output = command(program).arg(folder().join("list_classes.py")).output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let reason = String::from_utf8_lossy(&output.stderr);
        Failure::Other(format!("the suite does not load: {reason}"))
    })
}

/// Checks that all processes started with a method find `procession` in `multiprocessing`'s place.
///
/// # Errors
///
/// A process does not find it, or does not start.
pub fn probe(program: &Path, method: &str) -> Result<(), Failure> {
    let scratch = tempfile::tempdir()?;
    let mut python = command(program);
    python
        .arg(folder().join("probe.py"))
        .arg(method)
        .arg(scratch.path().join("answers"));
    run_alone(&mut python, LIMIT)
}
