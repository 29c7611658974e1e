//! A prefix of our own for an interpreter, in which `procession` takes the place of `multiprocessing`.
//!
//! It holds a copy of the interpreter's program and links to everything in its standard library, but in place of
//! `multiprocessing` there is `python/conformance/stub.py`. So the standard library's own package cannot be reached
//! by its name, whatever the flags of an interpreter, and no test can pass by mistake.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{Failure, run};
use crate::python::environment::Environment;
use crate::python::interpreter::Interpreter;
use crate::python::{command, package};

/// The time that an interpreter may take to report which module it has.
const LIMIT: Duration = Duration::from_secs(60);

/// A script that prints which module `multiprocessing` is, and the interpreter's prefix.
const QUESTION: &str = "import multiprocessing, sys; \
    sys.exit(0 if (multiprocessing.__name__, sys.prefix) == ('procession', sys.argv[1]) \
    else f'multiprocessing is {multiprocessing.__name__}, the prefix {sys.prefix}')";

/// Makes the prefix, in which the package of an environment is found, and returns the interpreter in it.
///
/// # Errors
///
/// The prefix cannot be made, or the interpreter in it finds another `multiprocessing`.
pub fn make(interpreter: &Interpreter, environment: &Environment) -> Result<PathBuf, Failure> {
    let prefix = interpreter.folder().join("overlay");
    match fs::remove_dir_all(&prefix) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let program = fill(interpreter, environment, &prefix)
        .map_err(|error| Failure::Other(format!("{}: {error}", prefix.display())))?;
    let prefix = prefix.canonicalize()?;
    for flags in [&[][..], &["-E", "-S", "-O"], &["-I"]] {
        run(
            command(&program).args(flags).args(["-c", QUESTION]).arg(&prefix),
            LIMIT,
        )
        .map_err(|failure| {
            let flags = flags.join(" ");
            Failure::Other(format!("`python {flags}` in the prefix for the tests: {failure}"))
        })?;
    }
    Ok(program)
}

fn fill(interpreter: &Interpreter, environment: &Environment, prefix: &Path) -> io::Result<PathBuf> {
    let inside = interpreter
        .stdlib
        .strip_prefix(&interpreter.prefix)
        .map_err(io::Error::other)?;
    let stdlib = prefix.join(inside);
    fs::create_dir_all(&stdlib)?;
    for entry in fs::read_dir(&interpreter.stdlib)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "multiprocessing" && name != "site-packages" {
            symlink(entry.path(), stdlib.join(name))?;
        }
    }
    fs::create_dir(stdlib.join("site-packages"))?;
    fs::create_dir(stdlib.join("multiprocessing"))?;
    fs::copy(
        package().join("conformance/stub.py"),
        stdlib.join("multiprocessing/__init__.py"),
    )?;
    symlink(environment.installed("procession"), stdlib.join("procession"))?;

    // The program may look for its library in a folder beside it.
    for entry in fs::read_dir(interpreter.stdlib.parent().unwrap_or(&interpreter.prefix))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("libpython") {
            symlink(entry.path(), stdlib.with_file_name(entry.file_name()))?;
        }
    }
    let name = interpreter.executable.file_name().unwrap_or("python".as_ref());
    let program = prefix.join("bin").join(name);
    fs::create_dir(prefix.join("bin"))?;
    fs::copy(&interpreter.executable, &program)?;
    Ok(program)
}
