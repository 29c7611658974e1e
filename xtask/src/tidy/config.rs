//! The settings: `xtask/tidy.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::child::Failure;

/// The settings of all rules.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    pub system_calls: SystemCalls,
    pub length: Length,
    pub width: Width,
    pub function_docs: FunctionDocs,
    pub unused_dependencies: UnusedDependencies,
    pub words: Vec<Word>,
}

/// The settings of the rule about system calls.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemCalls {
    /// Files, and folders with their `/`.
    pub places: Vec<String>,
}

/// The settings of the rule about lengths.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    pub code: usize,
    pub tests: usize,
}

/// The settings of the rule about widths.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Width {
    /// A comment, or a line of prose.
    pub line: usize,
    /// A cell of a table.
    pub cell: usize,
}

/// The settings of the rule about the documentation of functions.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionDocs {
    pub verbs: Vec<String>,
}

/// Dependencies that are needed although no source names them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnusedDependencies {
    pub ignore: Vec<String>,
    /// The names of libraries that differ from the names of their packages.
    pub names: BTreeMap<String, String>,
}

/// A word that must not be used any more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    pub old: String,
    /// The word to use instead.
    pub new: String,
    /// Files and folders in which the word is forbidden; all if the list is empty.
    #[serde(default)]
    pub only: Vec<String>,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// The settings cannot be read, or have an unknown key.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let complaint = |error: String| Failure::Other(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| complaint(error.to_string()))?;
        toml::from_str(&text).map_err(|error| complaint(error.to_string()))
    }
}
