//! The files that the rules read: each is read and parsed once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::cfg;
use crate::child::Failure;

/// The extensions of the text files of this project.
const TEXTS: [&str; 5] = ["rs", "py", "pyi", "md", "toml"];

/// Folders that are not part of the project.
const OTHERS: [&str; 3] = ["target", "__pycache__", "build"];

/// A text file.
pub struct File {
    /// Its path from the top of the checkout, with `/`.
    pub path: String,
    pub text: String,
    /// The parsed content, if it is Rust.
    pub rust: Option<syn::File>,
    /// Whether the file is only for tests.
    pub is_test: bool,
}

/// All text files, in the order of their paths.
pub struct Tree {
    files: BTreeMap<String, File>,
}

impl File {
    /// Returns the extension of the path.
    pub fn extension(&self) -> &str {
        extension(&self.path)
    }

    /// Returns the lines with their numbers, which begin with 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

impl Tree {
    /// Reads every text file below a folder.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or is Rust that cannot be parsed.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        let mut texts = Vec::new();
        let entries = WalkDir::new(root)
            .min_depth(1)
            .into_iter()
            .filter_entry(|entry| !is_foreign(entry));
        for entry in entries {
            let entry = entry.map_err(|error| Failure::Other(error.to_string()))?;
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let extension = path.extension().unwrap_or_default();
            if entry.file_type().is_file() && TEXTS.iter().any(|text| extension == *text) {
                let text = fs::read_to_string(entry.path())
                    .map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
                texts.push((path.display().to_string(), text));
            }
        }
        Self::new(texts)
    }

    fn new(texts: Vec<(String, String)>) -> Result<Self, Failure> {
        let mut files = BTreeMap::new();
        let mut test_modules = BTreeSet::new();
        for (path, text) in texts {
            let rust = parse(&path, &text)?;
            if let Some(rust) = &rust {
                test_modules.extend(test_modules_of(&path, rust));
            }
            let is_test = is_test_path(&path);
            files.insert(
                path.clone(),
                File {
                    path,
                    text,
                    rust,
                    is_test,
                },
            );
        }
        for file in files.values_mut() {
            file.is_test |= prefixes(&file.path).any(|prefix| test_modules.contains(prefix));
        }
        Ok(Self { files })
    }

    /// Makes a tree from given files, for tests.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self::new(files.iter().map(own).collect())
            .unwrap_or_else(|failure| panic!("made up, and wrong: {failure}"))
    }

    /// Returns all files.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    /// Returns the Rust files below a folder (which ends with `/`), with their content.
    pub fn rust<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a File, &'a syn::File)> {
        self.files()
            .filter(move |file| file.path.starts_with(folder))
            .filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    /// Returns one file.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }
}

/// Returns the extension of a path.
pub fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_foreign(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let hidden = name.starts_with('.') && name != ".github";
    hidden || (entry.file_type().is_dir() && OTHERS.contains(&&*name))
}

fn parse(path: &str, text: &str) -> Result<Option<syn::File>, Failure> {
    if extension(path) != "rs" {
        return Ok(None);
    }
    syn::parse_file(text).map(Some).map_err(|error| {
        let line = error.span().start().line;
        Failure::Other(format!("{path}:{line}: this cannot be parsed: {error}"))
    })
}

/// Returns whether the path of a file shows that it is a test.
fn is_test_path(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part == "fuzz_targets")
}

/// Returns the modules that a file declares only for tests, as paths without `.rs`.
fn test_modules_of(path: &str, rust: &syn::File) -> Vec<String> {
    let folder = module_folder(path);
    let declared = rust.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && cfg::is_for_tests(&module.attrs) => {
            Some(format!("{folder}{}", module.ident))
        }
        _ => None,
    });
    declared.collect()
}

/// Returns the folder of the modules that a file declares, with a `/` at the end.
fn module_folder(path: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    if ["mod", "lib", "main"].contains(&name) {
        format!("{folder}/")
    } else {
        format!("{stem}/")
    }
}

/// Returns the modules that contain a file, including itself: `src/a/b.rs` is in `src/a` and `src/a/b`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    stem.match_indices('/')
        .map(move |(end, _)| &stem[..end])
        .chain([stem])
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn modules_for_tests_are_known_with_all_that_is_in_them() {
        let tree = Tree::of(&[
            ("src/lib.rs", "#[cfg(all(test, not(loom)))] mod crash; mod heap;"),
            ("src/crash.rs", "mod deep;"),
            ("src/crash/deep.rs", ""),
            ("src/heap/mod.rs", "#[cfg(test)] mod models; mod tx;"),
            ("src/heap/models.rs", ""),
            ("src/heap/tx.rs", ""),
            ("tests/kill.rs", ""),
        ]);
        let tests: Vec<_> = tree
            .files()
            .filter(|file| file.is_test)
            .map(|file| &*file.path)
            .collect();
        assert_eq!(
            tests,
            [
                "src/crash.rs",
                "src/crash/deep.rs",
                "src/heap/models.rs",
                "tests/kill.rs"
            ]
        );
    }
}
