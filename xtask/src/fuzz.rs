//! `cargo xtask fuzz`: feeds what decodes bytes from outside with bytes that nobody thought of.
//!
//! The targets are those of cargo-fuzz, which can run them too (`cargo +nightly fuzz run frames`). Here they are built
//! with the stable compiler: libFuzzer needs the coverage that its flags ask for, and no sanitizer.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::child::{Failure, cargo, has_cargo, root, run, target};
use crate::step::Outcome;

/// Longer than the targets take to be built.
const BUILDING: Duration = Duration::from_mins(20);
/// How much longer than asked for a fuzzer may take to begin and to end.
const GRACE: Duration = Duration::from_mins(2);
/// Seconds for all targets together, where nothing else is said.
const SECONDS: u64 = 20;

/// Has the compiler count which way the program takes, as cargo-fuzz has it.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What may be asked of `cargo xtask fuzz`.
#[derive(Args)]
pub struct Options {
    /// How long to go on, all targets together
    #[arg(long, default_value_t = SECONDS, value_name = "N")]
    seconds: u64,

    /// Only these targets (may be repeated)
    #[arg(long, value_name = "TARGET")]
    target: Vec<Target>,
}

/// The files in `fuzz/fuzz_targets`.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// A stream of frames
    Frames,
    /// What somebody without the key says in a handshake
    Handshake,
    /// A handshake of two that have the key, changed on the way
    Tampered,
    /// A message of the program's own
    Message,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Handshake => "handshake",
            Self::Tampered => "tampered",
            Self::Message => "message",
        }
    }
}

/// Fuzzes what is asked for.
pub fn fuzz(options: &Options) -> ExitCode {
    let all = Target::value_variants();
    let targets = if options.target.is_empty() {
        all
    } else {
        &options.target
    };
    match work(targets, options.seconds) {
        Ok(Outcome::Skipped(reason)) => {
            eprintln!("skipped: {reason}");
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Lints every target and runs it for a short time: the step of `cargo xtask test`.
///
/// # Errors
///
/// A target has a warning or does not build, or the fuzzer has found something.
pub fn check(_limit: Duration) -> Result<Outcome, Failure> {
    if has_cpp() && has_cargo("clippy") {
        build("clippy", &["--", "-D", "warnings"])?;
    }
    work(Target::value_variants(), SECONDS)
}

fn work(targets: &[Target], seconds: u64) -> Result<Outcome, Failure> {
    if !has_cpp() {
        return Ok(Outcome::Skipped(
            "libFuzzer is built with a C++ compiler, and there is none".to_owned(),
        ));
    }
    let programs = build("build", &[])?;
    let each = seconds.div_ceil(targets.len() as u64).max(1);
    for target in targets {
        let name = target.name();
        // What it learns is kept for the next time.
        let corpus = folder().join("corpus").join(name);
        fs::create_dir_all(&corpus)?;
        let found = folder().join(format!("found-{name}-"));
        println!("fuzzing {name} for {each} s");
        let mut command = Command::new(programs.join(name));
        command
            .current_dir(root())
            .arg(format!("-max_total_time={each}"))
            .arg(format!("-artifact_prefix={}", found.display()))
            .args(["-timeout=20", "-rss_limit_mb=1024"])
            .arg("-dict=fuzz/words.dict")
            .arg(corpus)
            .arg(format!("fuzz/seeds/{name}"));
        // It says a lot, which is of interest only when it has found something.
        let log = folder().join(format!("{name}.log"));
        command.stderr(File::create(&log)?);
        let outcome = run(&mut command, Duration::from_secs(each) + GRACE);
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        match outcome {
            Ok(()) => {
                let runs = said.lines().filter(|line| line.starts_with("Done "));
                runs.for_each(|line| println!("{line}"));
            }
            Err(Failure::Status(status)) => {
                eprint!("{said}");
                return Err(Failure::Other(format!(
                    "the fuzzer has found something in '{name}' ({status}): see above, and {}*",
                    found.display()
                )));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Outcome::Passed)
}

/// Builds all targets, or lints them with `clippy`, and returns the folder that they are in.
fn build(subcommand: &str, more: &[&str]) -> Result<PathBuf, Failure> {
    let host = host()?;
    let mut command = cargo();
    // With a target that is named, what runs while building is not instrumented.
    command
        .args([subcommand, "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", &host])
        .args(more)
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", folder());
    run(&mut command, BUILDING)?;
    Ok(folder().join(host).join("release"))
}

fn folder() -> PathBuf {
    target().join("fuzz")
}

/// Returns what this machine is called.
fn host() -> Result<String, Failure> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("-vV")
        .output()?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| Failure::Other("rustc does not say what this machine is called".to_owned()))
}

fn has_cpp() -> bool {
    let mut command = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
