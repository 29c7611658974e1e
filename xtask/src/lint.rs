//! The steps `fmt` and `clippy`, for every workspace of this checkout.
//!
//! The step `fuzz` runs clippy for the fuzz targets: they need its flags, and share what it has built.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::child::{Failure, cargo, run, target};
use crate::python;
use crate::step::Outcome;

/// Returns the workspaces: their manifests, and where each is built.
fn workspaces() -> [(&'static str, PathBuf); 4] {
    [
        ("Cargo.toml", target()),
        // The dependencies that the benchmarks share with the crate are built already.
        ("bench/Cargo.toml", target()),
        ("fuzz/Cargo.toml", target()),
        ("python/Cargo.toml", python::build_folder()),
    ]
}

/// Checks that all Rust source is formatted.
///
/// # Errors
///
/// A file is not formatted.
pub fn fmt(limit: Duration) -> Result<Outcome, Failure> {
    each(limit, "", &["fmt", "--all", "--check"], &[])
}

/// Checks that there is no warning in any target.
///
/// # Errors
///
/// There is a warning.
pub fn clippy(limit: Duration) -> Result<Outcome, Failure> {
    let arguments = ["clippy", "--workspace", "--all-targets"];
    each(limit, "fuzz/Cargo.toml", &arguments, &["--", "-D", "warnings"])
}

/// Runs a command of cargo in each workspace but one.
fn each(limit: Duration, but: &str, before: &[&str], after: &[&str]) -> Result<Outcome, Failure> {
    let deadline = Instant::now() + limit;
    for (manifest, folder) in workspaces() {
        if manifest == but {
            continue;
        }
        let mut command = cargo();
        command
            .args(before)
            .args(["--manifest-path", manifest])
            .args(after)
            .env("CARGO_TARGET_DIR", folder);
        println!("{manifest}");
        run(&mut command, deadline.saturating_duration_since(Instant::now()))?;
    }
    Ok(Outcome::Passed)
}
