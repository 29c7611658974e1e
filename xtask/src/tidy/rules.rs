//! The rules.

use std::fmt::Write;

use super::config::Config;
use super::finding::Finding;
use super::tree::Tree;
use super::{
    circles, dependencies, function_docs, invariants, layers, length, module_docs, system_calls, width, words,
};

/// A rule: its name, its demand, and the function that finds violations.
pub struct Rule {
    pub name: &'static str,
    pub about: &'static str,
    pub check: fn(&Tree, &Config) -> Vec<Finding>,
}

/// All rules, in the order in which they are checked.
pub const RULES: [Rule; 10] = [
    Rule {
        name: "layers",
        about: "a room uses only rooms above it in the table of ARCHITECTURE.md",
        check: layers::check,
    },
    Rule {
        name: "circles",
        about: "no circle of imports between files, but those that the table declares",
        check: circles::check,
    },
    Rule {
        name: "system-calls",
        about: "libc and rustix in src/os alone",
        check: system_calls::check,
    },
    Rule {
        name: "length",
        about: "no file longer than one idea",
        check: length::check,
    },
    Rule {
        name: "width",
        about: "comments, prose and cells of tables that can be read",
        check: width::check,
    },
    Rule {
        name: "module-docs",
        about: "each file begins with what it is for",
        check: module_docs::check,
    },
    Rule {
        name: "function-docs",
        about: "the documentation of a function begins with a verb: \"Returns …\"",
        check: function_docs::check,
    },
    Rule {
        name: "unused-dependencies",
        about: "what a Cargo.toml depends on is named in the source",
        check: dependencies::check,
    },
    Rule {
        name: "words",
        about: "words that the project has replaced do not come back",
        check: words::check,
    },
    Rule {
        name: "invariants",
        about: "each invariant of ARCHITECTURE.md names a test or rule that is there",
        check: invariants::check,
    },
];

/// Returns the text about the rules for `--help`.
pub fn help() -> String {
    let mut text = "Rules:\n".to_owned();
    for Rule { name, about, .. } in RULES {
        let _ = writeln!(text, "  {name:<20} {about}");
    }
    text + "\nSettings: xtask/tidy.toml. Findings that are left to be mended, by file: xtask/tidy-ratchet.toml."
}
