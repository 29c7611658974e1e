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
        about: "no circle of imports between files, except those that the table declares",
        check: circles::check,
    },
    Rule {
        name: "system-calls",
        about: "libc and rustix are used only in src/os",
        check: system_calls::check,
    },
    Rule {
        name: "length",
        about: "no file is too long",
        check: length::check,
    },
    Rule {
        name: "width",
        about: "no comment, line of prose or cell of a table is too wide",
        check: width::check,
    },
    Rule {
        name: "module-docs",
        about: "each file begins with a comment that says what it is for",
        check: module_docs::check,
    },
    Rule {
        name: "function-docs",
        about: "the documentation of a function begins with a verb: \"Returns …\"",
        check: function_docs::check,
    },
    Rule {
        name: "unused-dependencies",
        about: "each dependency in a Cargo.toml is named in the source",
        check: dependencies::check,
    },
    Rule {
        name: "words",
        about: "words that the project has replaced do not come back",
        check: words::check,
    },
    Rule {
        name: "invariants",
        about: "each invariant of ARCHITECTURE.md names an existing test or rule",
        check: invariants::check,
    },
];

/// Returns the text about the rules for `--help`.
pub fn help() -> String {
    let mut text = "Rules:\n".to_owned();
    for Rule { name, about, .. } in RULES {
        let _ = writeln!(text, "  {name:<20} {about}");
    }
    text + "\nSettings: xtask/tidy.toml. Known findings, by file: xtask/tidy-ratchet.toml."
}
