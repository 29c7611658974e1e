//! The step `python` of `cargo xtask test`: the wheel, and the package's own tests.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::environment::Environment;
use super::interpreter;
use super::{command, has_package, package};
use crate::child::{Failure, run};
use crate::step::Outcome;

/// The number of seconds that a test may take.
const TEST_LIMIT: &str = "--timeout=120";

/// The exit code of pytest when it has found no test.
const NO_TESTS: i32 = 5;

/// Builds the wheel, and tests it with the newest Python; a few tests with the others.
///
/// # Errors
///
/// The wheel does not build, or a test fails.
pub fn check(limit: Duration) -> Result<Outcome, Failure> {
    if !has_package() {
        return Ok(Outcome::Skipped("this checkout has no Python package".to_owned()));
    }
    let interpreters = interpreter::all();
    if interpreters.is_empty() {
        return Ok(Outcome::Skipped("no CPython 3.11 or newer was found".to_owned()));
    }
    let _turn = super::take_turn()?;
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    for (index, interpreter) in interpreters.iter().enumerate() {
        println!("\nPython {interpreter} ({})", interpreter.executable.display());
        let environment = Environment::of(interpreter, left())?;
        environment.install_wheel(left())?;
        environment.install_tools(left())?;
        run(python(&environment).args(["-c", "import procession"]), left())?;
        if index == 0 {
            run(&mut pytest(&environment), left())?;
            stubs(&environment, left())?;
        } else {
            let smoke = run(pytest(&environment).args(["-m", "smoke"]), left());
            match smoke {
                Err(Failure::Status(status)) if status.code() == Some(NO_TESTS) => {
                    println!("no test is marked `smoke`");
                }
                result => result?,
            }
        }
    }
    Ok(Outcome::Passed)
}

fn python(environment: &Environment) -> Command {
    command(environment.python())
}

fn pytest(environment: &Environment) -> Command {
    let mut pytest = python(environment);
    pytest
        .args(["-m", "pytest", "--quiet", TEST_LIMIT, "-p", "no:cacheprovider"])
        .arg(package().join("tests"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    pytest
}

/// Compares the stubs of the package, if it has any, with its contents at run time.
fn stubs(environment: &Environment, limit: Duration) -> Result<(), Failure> {
    if !has_stubs(&environment.installed("procession")) {
        return Ok(());
    }
    let mut stubtest = python(environment);
    stubtest.args(["-m", "mypy.stubtest", "procession"]);
    let allowed = package().join("stubtest-allow.txt");
    if allowed.exists() {
        stubtest.arg("--allowlist").arg(allowed);
    }
    run(&mut stubtest, limit)
}

fn has_stubs(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "pyi")
        })
    })
}
