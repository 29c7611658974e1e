//! Rule: words that the project has replaced must not come back.

use super::config::{Config, Word};
use super::finding::Finding;
use super::tree::Tree;

/// The files that list the words, and may use them.
const LIST: &str = "xtask/tidy.toml";

/// Returns the lines with a word that the settings forbid.
pub fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files().filter(|file| file.path != LIST) {
        let words: Vec<_> = config
            .words
            .iter()
            .filter(|word| word.is_about(&file.path))
            .collect();
        for (number, line) in file.lines() {
            for word in words.iter().filter(|word| is_in(line, &word.old)) {
                let text = format!("`{}` is no longer used here: say {}", word.old, word.new);
                findings.push(Finding::new(&file.path, number, text));
            }
        }
    }
    findings
}

impl Word {
    fn is_about(&self, path: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|place| path.starts_with(place))
    }
}

/// Returns whether a line has a word, by itself or as a part of a name.
///
/// `Gate` is in `GateGuard`, and `gate` in `gate_of`, but neither is in `Gates` or `delegate`.
fn is_in(line: &str, word: &str) -> bool {
    let begins_big = word.starts_with(char::is_uppercase);
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let begins = !before.is_some_and(|c| c.is_alphanumeric() && !(begins_big && c.is_lowercase()));
        let ends = !after.is_some_and(|c| c.is_lowercase() || c.is_numeric());
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(old: &str, only: &[&str]) -> Word {
        Word {
            old: old.to_owned(),
            new: "something else".to_owned(),
            only: only.iter().map(|place| (*place).to_owned()).collect(),
        }
    }

    #[test]
    fn replaced_words_are_found() {
        let config = Config {
            words: vec![word("Gate", &[]), word("note", &["src/heap/"])],
            ..Config::default()
        };
        let tree = Tree::of(&[
            ("README.md", "A note.\nThe Gate."),
            ("src/heap/a.rs", "fn a() {}\nfn note_of(x: &GateGuard) {}"),
            ("src/queue.rs", "// a note"),
            ("xtask/tidy.toml", "Gate"),
        ]);
        let found: Vec<_> = check(&tree, &config)
            .into_iter()
            .map(|finding| (finding.file, finding.line))
            .collect();
        let expected = [("README.md", 2), ("src/heap/a.rs", 2), ("src/heap/a.rs", 2)];
        assert_eq!(found, expected.map(|(file, line)| (file.to_owned(), line)));
    }

    #[test]
    fn parts_of_other_words_are_not() {
        for line in ["delegate", "gates", "navigates", "Gate", "gated"] {
            assert!(!is_in(line, "gate"), "{line}");
        }
        for line in ["Gates", "GATE", "Gated"] {
            assert!(!is_in(line, "Gate"), "{line}");
        }
        for line in ["a Gate.", "ReadGate", "GateGuard", "Gate<T>"] {
            assert!(is_in(line, "Gate"), "{line}");
        }
    }
}
