//! The installed Pythons, for tests that exchange messages with Python programs.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Returns one interpreter for each version that the package supports and that is installed, on the path or by pyenv.
pub fn pythons() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for minor in 11..=13 {
        let name = format!("python3.{minor}");
        let mut candidates: Vec<PathBuf> =
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .map(|folder| folder.join(&name))
                .collect();
        let pyenv = std::env::home_dir().unwrap_or_default().join(".pyenv/versions");
        for version in std::fs::read_dir(pyenv).into_iter().flatten().flatten() {
            candidates.push(version.path().join("bin").join(&name));
        }
        // The program on the path may be pyenv's own script, which knows the name but may have no such version.
        found.extend(candidates.into_iter().find(|program| {
            let version = Command::new(program).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        }));
    }
    if found.is_empty() {
        eprintln!("skipped: there is no Python 3.11, 3.12 or 3.13 here");
    }
    found
}

/// Runs a script with arguments, without the packages that may be installed for that Python.
pub fn run(python: &PathBuf, script: &str, args: &[&str]) -> Child {
    Command::new(python)
        .args(["-I", "-c", script])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be started")
}

/// Waits for a script, checks that it succeeded, and returns its output.
pub fn content(child: Child) -> String {
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "Python: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
