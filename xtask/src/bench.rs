//! `cargo xtask bench`: the benchmarks, which are a workspace of their own.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::child::{cargo, run};

/// Longer than any benchmark takes.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What may be asked of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Passed on to the benchmarks: `cargo xtask bench -- --help` lists what they take
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds the benchmarks for release and runs them.
pub fn bench(options: &Options) -> ExitCode {
    let mut command = cargo();
    command
        .args(["run", "--release", "--manifest-path", "bench/Cargo.toml", "--"])
        .args(&options.arguments);
    match run(&mut command, LIMIT) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: the benchmarks did not succeed: {failure}");
            ExitCode::FAILURE
        }
    }
}
