//! Rule: each invariant in ARCHITECTURE.md names an existing test or rule that checks it.
//!
//! An invariant is a paragraph or an item of a list that begins with `**Invariant**`. What checks it stands in
//! backquotes: a test as `tests/kill.rs::name_of_the_test`, or a rule as `tidy::layers`.

use super::config::Config;
use super::finding::Finding;
use super::rooms::TEXT;
use super::rules::{RULES, Rule};
use super::tree::{Tree, extension};

const MARK: &str = "**Invariant**";

/// Returns the invariants without a check, and the checks that do not exist.
pub fn check(tree: &Tree, _: &Config) -> Vec<Finding> {
    let Some(text) = tree.get(TEXT) else {
        return Vec::new();
    };
    let lines: Vec<_> = text.lines().collect();
    let starts = lines.iter().filter(|(_, line)| is_invariant(line));
    starts
        .flat_map(|(number, _)| check_one(tree, *number, &paragraph(&lines[number - 1..])))
        .collect()
}

fn is_invariant(line: &str) -> bool {
    let item = line.strip_prefix("* ").or_else(|| line.strip_prefix("- "));
    item.unwrap_or(line).starts_with(MARK)
}

/// Returns the text up to a blank line or the next item.
fn paragraph(lines: &[(usize, &str)]) -> String {
    let rest = lines[1..].iter().map(|(_, line)| *line);
    let rest = rest.take_while(|line| !ends_paragraph(line));
    [lines[0].1].into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

fn ends_paragraph(line: &str) -> bool {
    line.is_empty() || ["* ", "- ", "#", "|"].iter().any(|start| line.starts_with(start))
}

fn check_one(tree: &Tree, line: usize, text: &str) -> Vec<Finding> {
    let quoted = text.split('`').skip(1).step_by(2);
    let checks: Vec<_> = quoted
        .filter_map(|quoted| quoted.split_once("::"))
        .filter(is_check)
        .collect();
    let complaint = |text: String| Finding::new(TEXT, line, text);
    if checks.is_empty() {
        return vec![complaint(
            "an invariant that nothing checks: name a test (`tests/kill.rs::name`) or a rule (`tidy::layers`)".to_owned(),
        )];
    }
    let missing = checks.iter().filter(|(place, name)| !exists(tree, place, name));
    missing
        .map(|(place, name)| {
            complaint(format!(
                "`{place}::{name}` does not exist: name what checks this now"
            ))
        })
        .collect()
}

/// Returns whether a path is a test or a rule, and not another path such as `Heap::alive`.
fn is_check((place, _): &(&str, &str)) -> bool {
    ["rs", "py"].contains(&extension(place)) || *place == "tidy"
}

fn exists(tree: &Tree, place: &str, name: &str) -> bool {
    if place == "tidy" {
        return RULES.iter().any(|rule: &Rule| rule.name == name);
    }
    let function = [format!("fn {name}("), format!("def {name}(")];
    tree.get(place)
        .is_some_and(|file| function.iter().any(|function| file.text.contains(function)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            (TEXT, text),
            ("tests/kill.rs", "#[test] fn nobody_hangs() {}"),
            (
                "python/tests/test_kill.py",
                "\"\"\"x\"\"\"\ndef test_hang(x): pass",
            ),
        ]);
        check(&tree, &Config::default())
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn an_invariant_that_nothing_checks_is_found() {
        assert_eq!(
            lines("**Invariant**: see `Heap::alive`.\n\n`tidy::layers`\n"),
            [1]
        );
        assert_eq!(lines("\n* **Invariant**: one\n* two `tidy::layers`\n"), [2]);
    }

    #[test]
    fn a_check_that_is_not_there_is_found() {
        assert_eq!(lines("**Invariant**: `tests/kill.rs::nobody`"), [1]);
        assert_eq!(lines("**Invariant**: `tests/gone.rs::nobody_hangs`"), [1]);
        assert_eq!(lines("**Invariant**: `tidy::nothing`"), [1]);
    }

    #[test]
    fn checks_that_are_there_are_well() {
        let text = "**Invariant** (`tests/kill.rs::nobody_hangs`): one.\n\n* **Invariant**: two,\n  `tidy::layers`, \
                    `python/tests/test_kill.py::test_hang`\n";
        assert_eq!(lines(text), [0; 0]);
    }
}
