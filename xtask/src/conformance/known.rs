//! The list of known failures.

use std::fs;

use serde::Deserialize;

use crate::child::Failure;
use crate::python::package;

/// The tests that are known to fail.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailures {
    #[serde(default)]
    known: Vec<Known>,
}

/// An entry of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Class and name, separated by a dot; `*` matches any text.
    test: String,
    #[serde(default)]
    methods: Vec<String>,
    /// Such as `3.13`.
    #[serde(default)]
    pythons: Vec<String>,
    /// Whether the test may also pass.
    #[serde(default)]
    pub sometimes: bool,
    pub reason: String,
}

impl KnownFailures {
    /// Reads the list.
    ///
    /// # Errors
    ///
    /// The list cannot be parsed.
    pub fn read() -> Result<Self, Failure> {
        let file = package().join("conformance/known_failures.toml");
        let complaint = |error: String| Failure::Other(format!("{}: {error}", file.display()));
        let text = fs::read_to_string(&file).map_err(|error| complaint(error.to_string()))?;
        toml::from_str(&text).map_err(|error| complaint(error.to_string()))
    }

    /// Returns the entry for a test, if there is one.
    pub fn find(&self, test: &str, method: &str, python: (u32, u32)) -> Option<&Known> {
        let python = format!("{}.{}", python.0, python.1);
        let holds = |list: &[String], item: &str| list.is_empty() || list.iter().any(|each| each == item);
        self.known.iter().find(|known| {
            holds(&known.methods, method) && holds(&known.pythons, &python) && matches(&known.test, test)
        })
    }
}

/// Tells whether a pattern with `*` matches all of a text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices()
                .map(|(index, _)| index)
                .chain([rest.len()])
                .any(|index| matches(after, &rest[index..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for pattern in ["A.test_b", "*", "A.*", "*.test_b", "A*b", "*A.test_b*"] {
            assert!(matches(pattern, "A.test_b"), "{pattern}");
        }
        for pattern in ["", "A", "*.test_c", "B*", "A.test_b*x"] {
            assert!(!matches(pattern, "A.test_b"), "{pattern}");
        }
    }

    #[test]
    fn an_entry_is_for_its_methods_and_pythons() {
        let list = "[[known]]\ntest = \"A.*\"\nmethods = [\"fork\"]\npythons = [\"3.13\"]\nreason = \"so\"\n";
        let list: KnownFailures = toml::from_str(list).unwrap();
        assert!(list.find("A.test_b", "fork", (3, 13)).is_some());
        assert!(list.find("A.test_b", "spawn", (3, 13)).is_none());
        assert!(list.find("A.test_b", "fork", (3, 12)).is_none());
    }
}
