//! The wheel: one for every `CPython` that the package supports.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{build_folder, command, folder, package};
use crate::child::{Failure, root, run};
use crate::python::environment::Environment;

/// The sources of the wheel. A folder stands for all files in it.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "src", "macros", "python"];

/// Folders that are not part of the sources.
const OTHERS: [&str; 8] = [
    "bench",
    "tests",
    "conformance",
    "target",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".venv",
];

/// Builds the wheel, unless a wheel exists that is newer than its sources.
///
/// # Errors
///
/// The wheel does not build.
pub fn build(environment: &Environment, limit: Duration) -> Result<PathBuf, Failure> {
    let wheels = folder().join("wheels");
    let sources = newest_source()?;
    if let Some(wheel) = existing(&wheels)?
        && fs::metadata(&wheel)?.modified()? > sources
    {
        return Ok(wheel);
    }
    match fs::remove_dir_all(&wheels) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    println!("building the wheel");
    let mut pip = command(environment.python());
    pip.args([
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ])
    .arg("--wheel-dir")
    .arg(&wheels)
    .arg(package())
    .env("CARGO_TARGET_DIR", build_folder());
    run(&mut pip, limit)?;
    existing(&wheels)?.ok_or_else(|| Failure::Other("pip has made no wheel".to_owned()))
}

/// Returns the wheel in a folder.
fn existing(wheels: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(wheels) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "whl"));
    Ok(files.pop())
}

/// Returns when the sources were last changed.
fn newest_source() -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in SOURCES {
        look(&root().join(source), &mut newest)?;
    }
    Ok(newest)
}

/// Raises the newest time to that of a file or folder. A folder's own time changes when a file is added to it or
/// removed.
fn look(path: &Path, newest: &mut SystemTime) -> io::Result<()> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !OTHERS.iter().any(|other| entry.file_name() == *other) {
                look(&entry.path(), newest)?;
            }
        }
    }
    if metadata.is_file() || path.file_name().is_some_and(|name| name != "python") {
        *newest = (*newest).max(metadata.modified()?);
    }
    Ok(())
}
