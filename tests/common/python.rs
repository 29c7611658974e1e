//! Pythons that are installed, for tests of what goes back and forth between them and us.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// One interpreter for each version that the package supports, as far as they are here: on the path, or of pyenv.
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
        // What is on the path may be pyenv's own script, which knows the name but has no such version.
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

/// Runs a script with arguments, without what may be installed beside that Python.
pub fn run(python: &PathBuf, script: &str, args: &[&str]) -> Child {
    Command::new(python)
        .args(["-I", "-c", script])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be started")
}

/// Waits for a script and checks that it was content.
pub fn content(child: Child) -> String {
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "Python: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
