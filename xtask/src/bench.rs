//! `cargo xtask bench`: the benchmarks, which are a workspace of their own; with `--python`, those of the Python package.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Args;

use crate::child::{Failure, cargo, root, run, target};

/// Longer than any benchmark takes.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Where to look for Python, newest first.
const PYTHONS: [&str; 4] = ["python3.13", "python3.12", "python3.11", "python3"];

/// What may be asked of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Measure the Python package instead, beside the standard library
    #[arg(long)]
    python: bool,

    /// The Python to measure it with (3.11 or newer) [default: the newest that is found]
    #[arg(long, value_name = "PROGRAM", requires = "python")]
    python_exe: Option<PathBuf>,

    /// Passed on to the benchmarks: `cargo xtask bench -- --help` lists what they take
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the benchmarks that are asked for.
pub fn bench(options: &Options) -> ExitCode {
    let result = if options.python {
        python(options)
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
        .args(&options.arguments);
    run(&mut command, LIMIT)
}

/// Runs the benchmarks of the Python package, in an environment that has the package and its rivals.
fn python(options: &Options) -> Result<(), Failure> {
    let python = environment(options.python_exe.as_deref())?;
    let mut command = at_root(&python);
    command.arg("python/bench/bench.py").args(&options.arguments);
    run(&mut command, LIMIT)
}

/// The Python of a virtual environment in which everything is installed that takes part.
fn environment(chosen: Option<&Path>) -> Result<PathBuf, Failure> {
    let (base, version) = match chosen {
        Some(program) => (program.to_owned(), identity(program)),
        None => PYTHONS
            .iter()
            .map(|name| (PathBuf::from(name), identity(Path::new(name))))
            .find(|(_, version)| version.is_some())
            .unwrap_or_default(),
    };
    if version.is_none() {
        let which = chosen.map_or_else(String::new, |program| format!(": {} is not", program.display()));
        return Err(Failure::Other(format!("this needs CPython 3.11 or newer{which}")));
    }

    let folder = target().join("python/bench-venv");
    let python = folder.join("bin/python");
    if identity(&python) != version {
        run(at_root(&base).args(["-m", "venv", "--clear"]).arg(&folder), LIMIT)?;
    }
    let install = |what: &[&str]| {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(at_root(&python).args(pip).args(what), LIMIT)
    };
    // The package is always built anew. A rival that cannot be installed is only missing from the table.
    if root().join("python/pyproject.toml").is_file() {
        install(&["--force-reinstall", "--no-deps", "./python"])?;
    }
    for name in ["numpy", "faster-fifo"] {
        match install(&[name]) {
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => eprintln!("warning: {name} could not be installed: {failure}"),
            Ok(()) => {}
        }
    }
    Ok(python)
}

/// Version and origin of a Python, the same for its virtual environments; `None` if it is none or is too old.
fn identity(python: &Path) -> Option<String> {
    const PROGRAM: &str =
        "import sys; print(sys.version, sys.base_prefix); sys.exit(sys.version_info < (3, 11))";
    let mut command = at_root(python);
    let output = command
        .args(["-c", PROGRAM])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program, to be run at the top of this checkout.
fn at_root(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}
