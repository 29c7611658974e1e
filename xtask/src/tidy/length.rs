//! Rule: a file holds one idea, and is not longer than one idea needs.

use super::config::Config;
use super::finding::Finding;
use super::tree::Tree;

/// Number of lines that count as one for the ratchet, so that the ratchet does not change with every line.
const STEP: usize = 50;

/// Returns the files that are too long; each counts by the number of lines above the limit.
pub fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree
        .files()
        .filter(|file| ["rs", "py"].contains(&file.extension()))
    {
        let most = if file.is_test {
            config.length.tests
        } else {
            config.length.code
        };
        let lines = file.lines().count();
        if lines > most {
            let text = format!("{lines} lines, of {most} at most: divide the file by its ideas");
            findings.push(Finding::new(&file.path, most + 1, text).amount((lines - most).div_ceil(STEP)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_too_long_count_by_the_lines_too_many() {
        let mut config = Config::default();
        config.length.code = 2;
        config.length.tests = 3;
        let long = "\n".repeat(60);
        let tree = Tree::of(&[
            ("src/a.rs", &long),
            ("src/b.rs", "\n\n"),
            ("tests/c.rs", "\n\n\n"),
            ("tests/d.rs", "\n\n\n\n"),
            ("README.md", "\n\n\n\n"),
        ]);
        let found: Vec<_> = check(&tree, &config)
            .into_iter()
            .map(|finding| (finding.file, finding.amount))
            .collect();
        assert_eq!(found, [("src/a.rs".to_owned(), 2), ("tests/d.rs".to_owned(), 1)]);
    }
}
