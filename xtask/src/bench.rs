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

/// A limit that no benchmark reaches.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// The options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Measure the Python package instead, and the standard library in the same run
    #[arg(long)]
    python: bool,

    /// Measure the basis of the package: forks, idle waiters, handing over a lock, crashes
    #[arg(long, requires = "python")]
    ground: bool,

    /// The Python to measure with (3.11 or newer) [default: the newest that is found]
    #[arg(long, value_name = "PROGRAM", requires = "python")]
    python_exe: Option<PathBuf>,

    /// Print a Markdown table of all contenders with range and target
    #[arg(long)]
    markdown: bool,

    /// Options for the benchmark program: `cargo xtask bench -- --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the benchmarks that the options ask for.
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

/// Returns the arguments of the benchmark program.
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
