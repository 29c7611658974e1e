//! Rule: system calls, and their types and constants, are mentioned only in `src/os`.

use super::config::Config;
use super::finding::Finding;
use super::mentions::mentions;
use super::tree::Tree;

/// The crates that make system calls.
const SYSTEM: [&str; 2] = ["libc", "rustix"];

/// The folders that are checked.
const FOLDERS: [&str; 2] = ["src/", "python/src/"];

/// Returns the mentions of the system outside the places that the settings name.
pub fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let places = &config.system_calls.places;
    let mut findings = Vec::new();
    for (file, rust) in FOLDERS.iter().flat_map(|folder| tree.rust(folder)) {
        if file.is_test || places.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        for mention in mentions(rust, &[]) {
            if SYSTEM.contains(&mention.path[0].as_str()) && mention.path.len() > 1 {
                let text = format!(
                    "`{}` outside {}: give it a function there, in the project's own terms",
                    mention.path.join("::"),
                    places.join(", ")
                );
                findings.push(Finding::new(&file.path, mention.line, text));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_outside_their_place_are_found() {
        let mut config = Config::default();
        config.system_calls.places = vec!["src/os/".to_owned()];
        let tree = Tree::of(&[
            ("src/os/clock.rs", "use rustix::time::now;"),
            (
                "src/heap.rs",
                "use rustix::{io, fs::stat};\nfn f() {\n assert_eq!(e, libc::EAGAIN); }",
            ),
            ("src/heap/crash.rs", "#[test] fn f() { libc::kill() }"),
        ]);
        let lines: Vec<_> = check(&tree, &config).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 1, 3]);
    }
}
