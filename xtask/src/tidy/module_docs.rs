//! Rule: every file begins with a comment that says what the file is for.

use super::config::Config;
use super::finding::Finding;
use super::tree::{File, Tree};

/// Returns the files without such a comment.
pub fn check(tree: &Tree, _: &Config) -> Vec<Finding> {
    let silent = tree.files().filter(|file| !says_something(file));
    let finding = |file: &File| {
        let how = if file.rust.is_some() {
            "`//! …`"
        } else {
            "a docstring"
        };
        Finding::new(
            &file.path,
            1,
            format!("begin the file with {how} that says what it is for"),
        )
    };
    silent.map(finding).collect()
}

fn says_something(file: &File) -> bool {
    if let Some(rust) = &file.rust {
        let mut attributes = rust.attrs.iter();
        return attributes.any(|attribute| attribute.path().is_ident("doc"));
    }
    if file.extension() != "py" {
        return true;
    }
    let mut code = file
        .lines()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    code.next()
        .is_none_or(|(_, line)| line.trim_start_matches('r').starts_with("\"\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_say_nothing_are_found() {
        let tree = Tree::of(&[
            ("a.rs", "//! Something.\n"),
            ("b.rs", "#![doc = include_str!(\"README.md\")]\n"),
            ("c.rs", "// Something.\n\n/// f\nfn f() {}"),
            ("d.py", "#!/usr/bin/python\n\n\"\"\"Something.\"\"\"\n"),
            ("e.py", "# Something.\nimport f\n\"\"\"Too late.\"\"\""),
            ("f.py", ""),
        ]);
        let found: Vec<_> = check(&tree, &Config::default())
            .into_iter()
            .map(|finding| finding.file)
            .collect();
        assert_eq!(found, ["c.rs", "e.py"]);
    }
}
