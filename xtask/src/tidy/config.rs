//! The settings: `xtask/tidy.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::child::Failure;

/// What the rules are told.
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

/// Where system calls are made.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemCalls {
    /// Files, and folders with their `/`.
    pub places: Vec<String>,
}

/// How many lines a file may have.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Length {
    pub code: usize,
    pub tests: usize,
}

/// How many characters something may have.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Width {
    /// A comment, or a line of prose.
    pub line: usize,
    /// A cell of a table.
    pub cell: usize,
}

/// How the documentation of a function begins.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionDocs {
    pub verbs: Vec<String>,
}

/// Dependencies that are there for another reason than to be named.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnusedDependencies {
    pub ignore: Vec<String>,
    /// What the library of a package is called, where that is not the package's name.
    pub names: BTreeMap<String, String>,
}

/// A word that is not to be used any more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    pub old: String,
    /// What to say in its place.
    pub new: String,
    /// Files and folders in which it means what it should not; all if there are none.
    #[serde(default)]
    pub only: Vec<String>,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// They cannot be read, or hold what nobody knows.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let complaint = |error: String| Failure::Other(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| complaint(error.to_string()))?;
        toml::from_str(&text).map_err(|error| complaint(error.to_string()))
    }
}
