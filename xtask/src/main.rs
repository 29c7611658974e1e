//! The project's chores. `cargo xtask --help` lists them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod child;
mod conformance;
mod fuzz;
mod lint;
mod new_user;
mod plan;
mod python;
mod report;
mod sanitize;
mod step;
mod tidy;

/// The chores of Procession.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check everything: format, lints, docs, tests, models, kills, leaks, a new user's first program, and Python
    Test(plan::Options),
    /// Check what the compiler does not: layers, system calls, lengths, documentation, words
    Tidy(tidy::Options),
    /// Print the table of benchmarks, every contender in the same run
    Bench(bench::Options),
    /// Run the tests of Python's own `multiprocessing` with `procession` in its place
    Conformance(conformance::Options),
    /// Feed what decodes bytes from outside with bytes that nobody thought of
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match Cli::parse().chore {
        Chore::Test(options) => plan::test(&options),
        Chore::Tidy(options) => tidy::tidy(&options),
        Chore::Bench(options) => bench::bench(&options),
        Chore::Conformance(options) => conformance::conformance(&options),
        Chore::Fuzz(options) => fuzz::fuzz(&options),
    }
}
