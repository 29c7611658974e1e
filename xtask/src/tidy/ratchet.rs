//! The ratchet, `xtask/tidy-ratchet.toml`: the number of findings that each file still has.
//!
//! The check fails if a file has more findings. It also fails if a file has fewer: the ratchet must then be rewritten,
//! so that no finding comes back. Files are split and renamed, so the sum over all files decides whether a rewritten
//! ratchet has grown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;

use super::finding::Finding;
use crate::child::Failure;

const HEAD: &str = "\
# How many findings each file still has, by rule. `cargo xtask tidy --update` writes this file; it may only shrink.
";

/// The number of findings of each file.
type Amounts = BTreeMap<String, usize>;

/// The numbers of findings by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Ratchet(BTreeMap<String, Amounts>);

impl Ratchet {
    /// Reads the file; without one, nothing is allowed.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has another format.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let complaint = |error: String| Failure::Other(format!("{}: {error}", path.display()));
        match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(complaint(error.to_string())),
            Ok(text) => toml::from_str(&text).map_err(|error| complaint(error.to_string())),
        }
    }

    /// Adds the findings of a rule.
    pub fn add(&mut self, rule: &str, findings: &[Finding]) {
        for finding in findings {
            let amounts = self.0.entry(rule.to_owned()).or_default();
            *amounts.entry(finding.file.clone()).or_default() += finding.amount;
        }
    }

    /// Returns the number of findings of a rule in a file.
    pub fn amount(&self, rule: &str, file: &str) -> usize {
        let amounts = self.0.get(rule);
        amounts
            .and_then(|amounts| amounts.get(file))
            .copied()
            .unwrap_or(0)
    }

    /// Returns the number of findings of a rule in all files.
    pub fn total(&self, rule: &str) -> usize {
        self.0.get(rule).map_or(0, |amounts| amounts.values().sum())
    }

    /// Returns the rules that find more here than before.
    pub fn grown(&self, before: &Self) -> Vec<&str> {
        let rules = self.0.keys().map(String::as_str);
        rules
            .filter(|rule| self.total(rule) > before.total(rule))
            .collect()
    }

    /// Returns a line for each file in which a rule finds less here than before.
    pub fn shrunk(&self, before: &Self, rule: &str) -> Vec<String> {
        let amounts = before.0.get(rule).into_iter().flatten();
        let less = amounts.filter(|(file, then)| self.amount(rule, file) < **then);
        less.map(|(file, then)| {
            format!(
                "{file}: {} found, but the ratchet allows {then}",
                self.amount(rule, file)
            )
        })
        .collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        fs::write(path, self.text()).map_err(|error| Failure::Other(format!("{}: {error}", path.display())))
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (rule, amounts) in &self.0 {
            let _ = writeln!(text, "\n[{rule}]");
            for (file, amount) in amounts {
                let _ = writeln!(text, "\"{file}\" = {amount}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratchet(rule: &str, amounts: &[(&str, usize)]) -> Ratchet {
        let mut ratchet = Ratchet::default();
        for (file, amount) in amounts {
            let finding = Finding::new(file, 1, String::new()).amount(*amount);
            ratchet.add(rule, &[finding]);
        }
        ratchet
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let before = ratchet("length", &[("src/a.rs", 3), ("src/a.rs", 2), ("src/b.rs", 1)]);
        assert_eq!(before.amount("length", "src/a.rs"), 5);
        assert_eq!(toml::from_str::<Ratchet>(&before.text()).expect("TOML"), before);
    }

    #[test]
    fn the_sum_of_a_rule_may_not_grow() {
        let before = ratchet("length", &[("src/a.rs", 3)]);
        let divided = ratchet("length", &[("src/a/b.rs", 2), ("src/a/c.rs", 1)]);
        assert!(divided.grown(&before).is_empty());
        assert_eq!(ratchet("length", &[("src/a.rs", 4)]).grown(&before), ["length"]);
        assert_eq!(ratchet("words", &[("src/a.rs", 1)]).grown(&before), ["words"]);
    }

    #[test]
    fn what_has_become_less_is_told() {
        let before = ratchet("length", &[("src/a.rs", 3), ("src/b.rs", 1)]);
        let now = ratchet("length", &[("src/a.rs", 3)]);
        assert_eq!(
            now.shrunk(&before, "length"),
            ["src/b.rs: 0 found, but the ratchet allows 1"]
        );
        assert!(before.shrunk(&before, "length").is_empty());
    }
}
