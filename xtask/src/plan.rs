//! `cargo xtask test`: the steps, in order.

use std::env;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;

use crate::child::{Failure, cargo, target};
use crate::step::{Outcome, Step};
use crate::{conformance, fuzz, lint, new_user, python, report, sanitize, tidy};

/// The options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Run the long form of the kill, leak and stress tests, and the sanitizers
    #[arg(long)]
    long: bool,

    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,

    /// Run only these steps, by the names in the summary (may be repeated)
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,

    /// Kill a step that takes longer than this many minutes [default: 20, or 60 with --long]
    #[arg(long, value_name = "MINUTES")]
    limit: Option<u64>,
}

/// Runs the steps, prints a summary, and fails if a step has failed.
pub fn test(options: &Options) -> ExitCode {
    let mut plan = steps(options.long);
    plan.extend(long_steps());
    if let Some(stranger) = options
        .only
        .iter()
        .find(|only| plan.iter().all(|step| step.name != **only))
    {
        let names: Vec<_> = plan.iter().map(|step| step.name).collect();
        eprintln!(
            "error: there is no step '{stranger}'; the steps are {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    if options.only.is_empty() {
        plan.retain(|step| options.long || !step.long);
    } else {
        plan.retain(|step| options.only.iter().any(|only| only == step.name));
    }

    let limit = Duration::from_secs(60 * options.limit.unwrap_or(if options.long { 60 } else { 20 }));
    let count = plan.len();
    let mut done = Vec::new();
    for (index, step) in plan.into_iter().enumerate() {
        report::begin(index + 1, count, &step);
        let step = step.run(limit);
        report::end(&step);
        let stop = match step.outcome {
            Outcome::Failed(Failure::Interrupted) => true,
            Outcome::Failed(_) => options.fail_fast,
            Outcome::Passed | Outcome::Skipped(_) => false,
        };
        done.push(step);
        if stop {
            break;
        }
    }
    report::summary(&done, count)
}

/// Returns the steps that run every time, in order.
fn steps(long: bool) -> Vec<Step> {
    let mut steps = source_steps();
    steps.extend(test_steps(long));
    steps.extend(python_steps());
    steps.extend(tool_steps());
    steps
}

/// Returns the steps that read and build the source, but run none of it.
fn source_steps() -> Vec<Step> {
    vec![
        Step::call("fmt", "all Rust source is formatted", lint::fmt).needs("fmt"),
        Step::call(
            "tidy",
            "layers, system calls, lengths, documentation, words",
            tidy::check,
        ),
        Step::call(
            "clippy",
            "no warning in any target: the crate, its benchmarks, the Python package",
            lint::clippy,
        )
        .needs("clippy"),
        Step::new("doc", "the documentation builds without a warning", {
            let mut command = line_of("doc --workspace --no-deps");
            command.env("RUSTDOCFLAGS", "-D warnings");
            command
        }),
        Step::new(
            "examples",
            "the README's example builds for release (clippy has seen them all)",
            line_of("build --release --example wordcount"),
        ),
    ]
}

/// Returns the steps that run the crate.
fn test_steps(long: bool) -> Vec<Step> {
    let tests = |line: &str| {
        let mut command = line_of(line);
        if long {
            command.env("PROCESSION_LONG", "1");
        }
        command
    };
    vec![
        Step::new(
            "tests",
            "unit and integration tests",
            tests("test --workspace --lib --bins --tests --no-fail-fast"),
        ),
        Step::new(
            "doctests",
            "the examples in the documentation run",
            line_of("test --workspace --doc"),
        ),
        Step::new(
            "kill",
            "random kills and leaks, optimised",
            tests("test --release --test kill --test leak --no-fail-fast"),
        ),
        Step::new(
            "loom",
            "models of the queue and of waiting, every interleaving",
            {
                let mut command = line_of("test --package procession --release --lib loom_");
                let flags = env::var("RUSTFLAGS").unwrap_or_default();
                command
                    .env("RUSTFLAGS", format!("{flags} --cfg loom"))
                    .env("CARGO_TARGET_DIR", target().join("loom"));
                command
            },
        ),
        Step::call(
            "fuzz",
            "the fuzz targets: no warning, and bytes that nobody thought of for a short time",
            fuzz::check,
        ),
        Step::call(
            "new-user",
            "the program of the README, as a crate of its own",
            new_user::check,
        ),
    ]
}

/// Returns the steps for the Python package.
fn python_steps() -> Vec<Step> {
    vec![
        Step::call(
            "ruff",
            "the Python source is formatted, and has no warning",
            python::ruff::check,
        ),
        Step::call(
            "python",
            "the wheel, its own tests and its types",
            python::check::check,
        ),
        Step::call(
            "conformance",
            "CPython's own tests of multiprocessing, on procession",
            conformance::check,
        ),
    ]
}

/// Returns the steps that need tools which few machines have.
fn tool_steps() -> Vec<Step> {
    vec![
        Step::new(
            "nextest",
            "tests that start processes, in a process for each",
            line_of("nextest run --test process --test lock"),
        )
        .needs("nextest"),
        Step::new("miri", "undefined behaviour in what miri can run", {
            let mut command = line_of("miri test --package procession --lib");
            command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
            command
        })
        .needs("miri"),
    ]
}

/// Returns the steps that run only in the long form, because they are slow.
fn long_steps() -> [Step; 2] {
    let step = |name, about, check| Step::call(name, about, check).long();
    [
        step("asan", "no access to memory that is not there", sanitize::address),
        step("tsan", "no data race among threads", sanitize::thread),
    ]
}

/// Returns a command of `cargo` with the arguments of a line.
fn line_of(line: &str) -> Command {
    let mut command = cargo();
    command.args(line.split_whitespace());
    command
}
