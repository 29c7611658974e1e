//! Rule: lines are short enough to be read: comments, prose, and the cells of tables.
//!
//! The width of code is left to the formatters. A line that cannot be broken at a blank (an address) may be longer.

use super::config::Config;
use super::finding::Finding;
use super::tree::{File, Tree};

/// Returns the lines and cells that are too wide.
pub fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        for (number, line) in file.lines() {
            if let Some(text) = complaint(file, line, config) {
                findings.push(Finding::new(&file.path, number, text));
            }
        }
    }
    findings
}

fn complaint(file: &File, line: &str, config: &Config) -> Option<String> {
    if is_row(file, line) {
        let most = config.width.cell;
        let widest = line.split('|').map(|cell| cell.trim().chars().count()).max()?;
        return (widest > most).then(|| {
            format!("a cell of {widest} characters, of {most} at most: say it in the text around the table")
        });
    }
    let most = config.width.line;
    let wide = line.chars().count();
    (wide > most && is_prose(file, line) && can_be_broken(line, most))
        .then(|| format!("{wide} characters, of {most} at most: break the line"))
}

/// Returns whether the line is a row of a table, in Markdown or in a documentation comment.
fn is_row(file: &File, line: &str) -> bool {
    let line = line.trim_start();
    match file.extension() {
        "md" => line.starts_with('|'),
        "rs" => line.starts_with("//! |") || line.starts_with("/// |"),
        _ => false,
    }
}

/// Returns whether no formatter breaks the line.
fn is_prose(file: &File, line: &str) -> bool {
    match file.extension() {
        "rs" => line.contains("//"),
        "toml" => line.contains('#'),
        _ => true,
    }
}

fn can_be_broken(line: &str, most: usize) -> bool {
    let start = line.len() - line.trim_start().len();
    let begins_late = line.char_indices().nth(most).map_or(line.len(), |(at, _)| at);
    let words = line[start..].find(' ').map_or(line.len(), |at| start + at + 1);
    line[words.min(begins_late)..begins_late].contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let mut config = Config::default();
        config.width.line = 12;
        config.width.cell = 5;
        let tree = Tree::of(&[(path, text)]);
        check(&tree, &config).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn rows_of_tables_in_comments_are_measured_by_cells() {
        assert_eq!(
            lines("a.rs", "//! | one | two | three | four |\n//! | longer |\n"),
            [2]
        );
    }

    #[test]
    fn wide_comments_are_found() {
        assert_eq!(
            lines("a.rs", "// one two 3\n// one two three\nfn one_two_three() {}\n"),
            [2]
        );
        assert_eq!(
            lines("a.py", "# one two three\n\"\"\"One two three\"\"\"\n# öööö öööö"),
            [1, 2]
        );
    }

    #[test]
    fn wide_prose_and_wide_cells_are_found() {
        assert_eq!(
            lines("a.md", "one two three\n\n| one | two |\n| a | one two |\n"),
            [1, 4]
        );
    }

    #[test]
    fn an_address_may_be_longer() {
        assert_eq!(lines("a.md", "[a]: https://example.org/long\n"), [0; 0]);
        assert_eq!(lines("a.rs", "// https://example.org/long\n"), [0; 0]);
    }
}
