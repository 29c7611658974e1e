//! The step `ruff` of `cargo xtask test`: the Python source is formatted and linted.

use std::time::{Duration, Instant};

use super::environment::Environment;
use super::{command, interpreter, package, take_turn};
use crate::child::{Failure, run};
use crate::step::Outcome;

/// Checks all Python source with the version of ruff in the tests' requirements.
///
/// # Errors
///
/// Ruff cannot be installed, or a file is not formatted or has a warning.
pub fn check(limit: Duration) -> Result<Outcome, Failure> {
    let Some(newest) = interpreter::all().into_iter().next() else {
        return Ok(Outcome::Skipped("no CPython 3.11 or newer was found".to_owned()));
    };
    let _turn = take_turn()?;
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    let environment = Environment::of(&newest, left())?;
    environment.install_tools(left())?;
    for subcommand in [&["format", "--check"][..], &["check"]] {
        let mut ruff = command(environment.python());
        ruff.args(["-m", "ruff"])
            .args(subcommand)
            .arg("--no-cache")
            .arg(package());
        run(&mut ruff, left())?;
    }
    Ok(Outcome::Passed)
}
