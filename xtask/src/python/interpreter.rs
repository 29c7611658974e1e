//! The installed Pythons.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::command;
use crate::child::Failure;

/// The script by which an interpreter describes itself.
const QUESTION: &str = r#"
import importlib.util, json, os, sys, sysconfig
has = lambda name: importlib.util.find_spec(name) is not None
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "version": sys.version_info[:3],
    "prefix": sys.base_prefix,
    "stdlib": os.path.dirname(os.__file__),
    "usable": sys.implementation.name == "cpython" and has("venv") and has("ensurepip")
              and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "suite": has("test") and has("test.support") and has("test._test_multiprocessing"),
}))
"#;

/// The oldest version that the package supports.
const OLDEST: (u32, u32) = (3, 11);

/// A Python that is installed here.
#[derive(Clone, Debug, Deserialize)]
pub struct Interpreter {
    /// The program, with all links followed.
    pub executable: PathBuf,
    version: (u32, u32, u32),
    /// The folder that it was installed in.
    pub prefix: PathBuf,
    /// The folder of its standard library.
    pub stdlib: PathBuf,
    /// Whether it is a `CPython` that can make virtual environments.
    usable: bool,
    /// Whether its own tests of `multiprocessing` are installed.
    pub suite: bool,
}

impl Interpreter {
    /// Asks a program which Python it is.
    ///
    /// # Errors
    ///
    /// The program does not run, or is not a Python that the package supports.
    pub fn ask(program: &Path) -> Result<Self, Failure> {
        let complaint = |reason: &str| Failure::Other(format!("{}: {reason}", program.display()));
        let output = command(program)
            .args(["-c", QUESTION])
            .stderr(Stdio::null())
            .output()
            .map_err(|error| complaint(&error.to_string()))?;
        let found: Self = serde_json::from_slice(&output.stdout)
            .map_err(|_| complaint("this does not run, or is no Python 3.11 or newer"))?;
        if !found.usable || found.minor() < OLDEST {
            return Err(complaint(
                "not a CPython 3.11 or newer that can make virtual environments",
            ));
        }
        Ok(found)
    }

    /// Returns the folder in which everything for this Python is built.
    pub fn folder(&self) -> PathBuf {
        super::folder().join(self.to_string())
    }

    /// Returns the minor version: `3.13` of `3.13.0`.
    pub fn minor(&self) -> (u32, u32) {
        (self.version.0, self.version.1)
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Returns one interpreter for each minor version, the newest first. Interpreters with their tests installed are
/// preferred, and then newer ones.
pub fn all() -> Vec<Interpreter> {
    let mut found = BTreeMap::<_, Interpreter>::new();
    for program in candidates() {
        let Ok(new) = Interpreter::ask(&program) else {
            continue;
        };
        let old = found.entry(new.minor()).or_insert_with(|| new.clone());
        if (new.suite, new.version) > (old.suite, old.version) {
            *old = new;
        }
    }
    found.into_values().rev().collect()
}

/// Returns the programs that may be a Python: those on the path, and those that pyenv has installed.
fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = env::split_paths(&path)
        .flat_map(|folder| programs(&folder))
        .collect();
    let pyenv = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".pyenv")));
    if let Some(Ok(versions)) = pyenv.map(|folder| fs::read_dir(folder.join("versions"))) {
        candidates.extend(
            versions
                .flatten()
                .map(|version| version.path().join("bin/python3")),
        );
    }
    candidates
}

/// Returns `python3`, and `python3.11` and newer, in a folder.
fn programs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| is_python(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

fn is_python(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("python3") else {
        return false;
    };
    let minor = rest.strip_prefix('.').and_then(|minor| minor.parse::<u32>().ok());
    rest.is_empty() || minor.is_some_and(|minor| minor >= OLDEST.1)
}

#[cfg(test)]
mod tests {
    use super::is_python;

    #[test]
    fn a_python_is_known_by_its_name() {
        for name in ["python3", "python3.11", "python3.13", "python3.20"] {
            assert!(is_python(name), "{name}");
        }
        for name in [
            "python",
            "python2.7",
            "python3.9",
            "python3-config",
            "python3.13t",
        ] {
            assert!(!is_python(name), "{name}");
        }
    }
}
