//! `cargo xtask bench`: runs the benchmarks, which are a workspace of their own.
//!
//! With `--python`, it runs those of the Python package.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::child::{Failure, cargo, run};
use crate::python;
use crate::python::environment::Environment;
use crate::python::interpreter::{self, Interpreter};

/// Longer than any benchmark takes.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What may be asked of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Measure the Python package instead, beside the standard library
    #[arg(long)]
    python: bool,

    /// Measure its ground: forks, idleness, turns at a lock, crashes
    #[arg(long, requires = "python")]
    ground: bool,

    /// The Python to measure it with (3.11 or newer) [default: the newest that is found]
    #[arg(long, value_name = "PROGRAM", requires = "python")]
    python_exe: Option<PathBuf>,

    /// Print every contender with range and target, as a Markdown table
    #[arg(long)]
    markdown: bool,

    /// Passed on to the benchmarks: `cargo xtask bench -- --help` lists what they take
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the benchmarks that are asked for.
pub fn bench(options: &Options) -> ExitCode {
    let result = if options.python {
        of_python(options)
    } else {
        rust(options)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: the benchmarks did not succeed: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the benchmarks for release and runs them.
fn rust(options: &Options) -> Result<(), Failure> {
    let mut command = cargo();
    command
        .args(["run", "--release", "--manifest-path", "bench/Cargo.toml", "--"])
        .args(arguments(options));
    run(&mut command, LIMIT)
}

/// Returns what the benchmarks are told.
fn arguments(options: &Options) -> impl Iterator<Item = &OsStr> {
    let markdown = options.markdown.then_some(OsStr::new("--markdown"));
    let others = options.arguments.iter().map(OsString::as_os_str);
    markdown.into_iter().chain(others)
}

/// Runs the benchmarks of the Python package, in an environment that has the package and its rivals.
fn of_python(options: &Options) -> Result<(), Failure> {
    let interpreter = match &options.python_exe {
        Some(program) => Interpreter::ask(program)?,
        None => interpreter::all()
            .into_iter()
            .next()
            .ok_or_else(|| Failure::Other("no CPython 3.11 or newer was found".to_owned()))?,
    };
    let _turn = python::take_turn()?;
    let environment = Environment::of(&interpreter, LIMIT)?;
    environment.install_wheel(LIMIT)?;
    environment.install_tools(LIMIT)?;
    let program = if options.ground {
        "python/bench/ground.py"
    } else {
        match environment.install("faster-fifo", LIMIT) {
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => eprintln!("warning: it will be missing from the table: {failure}"),
            Ok(()) => {}
        }
        "python/bench/bench.py"
    };
    let mut command = python::command(environment.python());
    command.arg(program).args(arguments(options));
    run(&mut command, LIMIT)
}
