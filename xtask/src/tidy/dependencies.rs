//! Rule: what a `Cargo.toml` depends on is named in the source of that crate.

use toml::Table;

use super::config::Config;
use super::finding::Finding;
use super::tree::{File, Tree};

/// The tables of a manifest that name dependencies.
const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Returns the dependencies that no source names.
pub fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let manifests: Vec<_> = tree.files().filter(|file| is_manifest(file)).collect();
    let mut findings = Vec::new();
    for manifest in &manifests {
        let sources = sources(tree, manifest, &manifests);
        for dependency in dependencies(manifest) {
            let name = library(&dependency, config);
            if !config.unused_dependencies.ignore.contains(&dependency)
                && !sources.iter().any(|source| names(source, &name))
            {
                let text = format!("no source of this crate names `{dependency}`: take the dependency out");
                findings.push(Finding::new(&manifest.path, line_of(manifest, &dependency), text));
            }
        }
    }
    findings
}

/// Returns the name of a dependency in the source.
fn library(dependency: &str, config: &Config) -> String {
    let name = config.unused_dependencies.names.get(dependency);
    name.cloned().unwrap_or_else(|| dependency.replace('-', "_"))
}

fn is_manifest(file: &File) -> bool {
    file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml")
}

/// Returns the keys of all tables of dependencies, including those for certain targets.
fn dependencies(manifest: &File) -> Vec<String> {
    let Ok(table) = manifest.text.parse::<Table>() else {
        return Vec::new(); // cargo reports the error
    };
    let mut found = keys(&table);
    let targets = table.get("target").and_then(toml::Value::as_table);
    for target in targets.into_iter().flat_map(Table::values) {
        found.extend(target.as_table().into_iter().flat_map(keys));
    }
    found
}

fn keys(table: &Table) -> Vec<String> {
    let tables = TABLES.iter().filter_map(|name| table.get(*name)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// Returns the line that names a dependency.
fn line_of(manifest: &File, dependency: &str) -> usize {
    let mut lines = manifest.lines();
    let found = lines.find(|(_, line)| {
        let rest = line.strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with([' ', '=', '.']))
    });
    found.map_or(1, |(number, _)| number)
}

/// Returns the source files of a crate, but not those of crates in folders of it.
fn sources<'a>(tree: &'a Tree, manifest: &'a File, manifests: &[&File]) -> Vec<&'a File> {
    let is_own = |file: &File| {
        let owners = manifests
            .iter()
            .filter(|other| file.path.starts_with(folder(other)));
        let owner = owners.max_by_key(|other| other.path.len());
        owner.is_some_and(|owner| owner.path == manifest.path)
    };
    tree.rust(folder(manifest))
        .map(|(file, _)| file)
        .filter(|file| is_own(file))
        .collect()
}

fn folder(manifest: &File) -> &str {
    manifest.path.trim_end_matches("Cargo.toml")
}

/// Returns whether a source names a crate: before `::`, or after `use` or `extern crate`.
fn names(source: &File, name: &str) -> bool {
    let mut code = source
        .lines()
        .filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.any(|(_, line)| {
        line.match_indices(name).any(|(start, _)| {
            let (before, after) = (&line[..start], &line[start + name.len()..]);
            let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let imported =
                (before.ends_with("use ") || before.ends_with("crate ")) && after.starts_with([';', ' ']);
            begins && (after.starts_with("::") || imported)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_that_no_source_names_are_found() {
        let mut config = Config::default();
        config.unused_dependencies.ignore = vec!["only-linked".to_owned()];
        let name = ("sha-9".to_owned(), "sha9".to_owned());
        config.unused_dependencies.names = [name].into();
        let tree = Tree::of(&[
            (
                "Cargo.toml",
                "[dependencies]\nserde = \"1\"\nlibc = \"1\"\nmd-5 = \"1\"\nonly-linked = \"1\"\nsha-9 = \"1\"\n\
                 [target.'cfg(loom)'.dependencies]\nloom = \"1\"\n[dev-dependencies]\ntempfile = \"1\"\n",
            ),
            (
                "src/lib.rs",
                "use sha9::S;\nuse serde::Serialize;\nfn f() { libc_free() }\n// use md_5::Md5;",
            ),
            ("tests/a.rs", "fn f() { assert!(tempfile::tempdir().is_ok()) }"),
            (
                "macros/Cargo.toml",
                "[dependencies]\nsyn = \"3\"\nserde.workspace = true\n",
            ),
            ("macros/src/lib.rs", "use syn;\nuse loom::x;"),
        ]);
        let found: Vec<_> = check(&tree, &config)
            .into_iter()
            .map(|finding| (finding.file, finding.line))
            .collect();
        let expected = [
            ("Cargo.toml", 3),
            ("Cargo.toml", 4),
            ("Cargo.toml", 8),
            ("macros/Cargo.toml", 3),
        ];
        assert_eq!(found, expected.map(|(file, line)| (file.to_owned(), line)));
    }
}
