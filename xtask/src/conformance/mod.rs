//! `cargo xtask conformance`: `CPython`'s own tests of `multiprocessing`, unedited, with `procession` in its place.
//!
//! They run with an interpreter in a prefix made for them ([`overlay`]), with one process for each class and start
//! method ([`job`]). They also run with the unchanged standard library ([`run`]). A test that passes there must pass
//! here, or be on the list of known failures ([`known`], [`verdict`]).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::child::Failure;
use crate::python::interpreter::{self, Interpreter};
use crate::python::{self, has_package};
use crate::step::Outcome;

mod crew;
mod job;
mod known;
mod outcome;
mod overlay;
mod progress;
mod record;
mod run;
mod scripts;
mod summary;
mod table;
mod verdict;

/// A limit that all start methods on all versions do not reach.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// The options of `cargo xtask conformance`.
#[derive(Args, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are switches on a command line"
)]
pub struct Options {
    /// Test with this Python (may be repeated) [default: the newest that has the tests installed]
    #[arg(long, value_name = "PROGRAM")]
    python: Vec<PathBuf>,

    /// Test with every Python found that has the tests installed, one for each minor version
    #[arg(long, conflicts_with = "python")]
    all_pythons: bool,

    /// Test with this start method (may be repeated) [default: all three]
    #[arg(long)]
    method: Vec<Method>,

    /// Run only classes whose names end with this (may be repeated), such as `TestQueue`
    #[arg(long)]
    class: Vec<String>,

    /// Run this many classes at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,

    /// Run the tests of the standard library again, even if an earlier result is kept
    #[arg(long)]
    fresh: bool,

    /// Run classes with new failures again, one at a time; a test that passes then is reported, and does not count as a
    /// failure
    #[arg(long)]
    retry: bool,

    /// Print the lines to add to the list of known failures for the new failures
    #[arg(long)]
    record: bool,
}

/// The way in which a process is started.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Method {
    Fork,
    Spawn,
    Forkserver,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Spawn => "spawn",
            Self::Forkserver => "forkserver",
        }
    }
}

/// Runs the tests and prints the results.
pub fn conformance(options: &Options) -> ExitCode {
    match test(options, Instant::now() + LIMIT) {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Skipped(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
        Ok(Outcome::Failed(_)) => ExitCode::FAILURE, // the summary has the reason
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the step of `cargo xtask test`: all start methods on the newest Python that has the tests installed.
///
/// # Errors
///
/// A test has failed, or the tests cannot be run.
pub fn check(limit: Duration) -> Result<Outcome, Failure> {
    let options = Options {
        jobs: 4, // tests sleep most of the time
        retry: true,
        ..Options::default()
    };
    test(&options, Instant::now() + limit)
}

fn test(options: &Options, deadline: Instant) -> Result<Outcome, Failure> {
    if !has_package() {
        return Ok(Outcome::Skipped("this checkout has no Python package".to_owned()));
    }
    let chosen = choose(options)?;
    let _turn = python::take_turn()?;
    let request = run::Request {
        methods: if options.method.is_empty() {
            Method::value_variants()
        } else {
            &options.method
        },
        classes: &options.class,
        hands: options.jobs.into(),
        fresh: options.fresh,
        retry: options.retry,
        deadline,
    };
    let mut all = Vec::new();
    for interpreter in &chosen {
        if interpreter.suite {
            all.push(run::run(interpreter, &request)?);
        } else {
            println!("Python {interpreter}: the module test._test_multiprocessing is not installed");
        }
    }
    if all.is_empty() {
        return Ok(Outcome::Skipped(
            "no Python with the module test._test_multiprocessing was found".to_owned(),
        ));
    }
    if options.record {
        all.iter().for_each(summary::suggest);
    }
    Ok(match summary::print(&all) {
        None => Outcome::Passed,
        Some(reason) => Outcome::Failed(Failure::Other(reason)),
    })
}

/// Returns the interpreters to test with.
fn choose(options: &Options) -> Result<Vec<Interpreter>, Failure> {
    if !options.python.is_empty() {
        let ask = |program: &PathBuf| Interpreter::ask(program);
        return options.python.iter().map(ask).collect();
    }
    let mut found = interpreter::all();
    if !options.all_pythons {
        found.retain(|interpreter| interpreter.suite);
        found.truncate(1);
    }
    Ok(found)
}
