//! The imports between the files of a crate, without tests.
//!
//! A path is resolved to the file that defines what it names, through imported modules and re-exports (`pub use`). So a
//! folder's `mod.rs` that only wires imports nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::mentions::{Mention, mentions};
use super::tree::Tree;

/// The maximum number of names that are followed in a chain.
const DEPTH: usize = 16;

/// The files of a crate, and what they import.
pub struct Crate<'a> {
    files: Vec<Module<'a>>,
    /// The file of each module, by the module's path from the root.
    modules: HashMap<Vec<String>, usize>,
}

struct Module<'a> {
    file: &'a str,
    path: Vec<String>,
    mentions: Vec<Mention>,
    /// The meaning of each name that a `use` has made here.
    names: HashMap<String, Vec<String>>,
    /// Names that the code here uses, without mere re-exports.
    used: HashSet<String>,
}

/// A use of an item that another file of the crate defines.
#[derive(Debug)]
pub struct Edge<'a> {
    pub from: &'a str,
    pub line: usize,
    pub to: &'a str,
    /// The first segments of both modules; none for the crate's root.
    pub rooms: (Option<&'a str>, Option<&'a str>),
}

impl<'a> Crate<'a> {
    /// Reads the crate whose source is a folder, which ends with `/`.
    pub fn of(tree: &'a Tree, folder: &'a str) -> Self {
        let mut files = Vec::new();
        let mut modules = HashMap::new();
        for (file, rust) in tree.rust(folder).filter(|(file, _)| !file.is_test) {
            let path = module_path(&file.path[folder.len()..]);
            let mentions = mentions(rust, &path);
            modules.insert(path.clone(), files.len());
            files.push(Module {
                file: &file.path,
                path,
                names: names(&mentions),
                used: used(&mentions),
                mentions,
            });
        }
        Self { files, modules }
    }

    /// Returns the first import of each file from each other file, in the order of the files and lines.
    pub fn edges(&self) -> Vec<Edge<'_>> {
        let mut edges = Vec::new();
        for (index, module) in self.files.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for mention in module.mentions.iter().filter(|mention| module.needs(mention)) {
                let Some(to) = self.find(module, mention) else {
                    continue;
                };
                if to != index && seen.insert(to) {
                    let room = |module: usize| self.files[module].path.first().map(String::as_str);
                    edges.push(Edge {
                        from: module.file,
                        line: mention.line,
                        to: self.files[to].file,
                        rooms: (room(index), room(to)),
                    });
                }
            }
        }
        edges
    }

    /// Returns the number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns the file that defines an item mentioned in a module, if it is in this crate.
    fn find(&self, module: &Module, mention: &Mention) -> Option<usize> {
        let alone = mention.path.len() == 1 && mention.import.is_none();
        if alone {
            return None; // its import is found separately
        }
        let start = match &mention.import {
            // The first segment of an import is a module, and not the name that the import makes.
            Some(_) => self.child(module, &mention.path)?,
            None => self.whole(module, &mention.path)?,
        };
        let everything = mention.import.as_ref().filter(|import| import.name == "*");
        let path: Vec<_> = start
            .into_iter()
            .chain(everything.map(|import| import.name.clone()))
            .collect();
        self.follow(&path, DEPTH)
    }

    /// Returns the path, without `crate`, for which a name in a module stands; none if it is in another crate.
    fn whole(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match module.names.get(first) {
            Some(name) => {
                let mut whole = self.child(module, name)?;
                whole.extend_from_slice(rest);
                Some(whole)
            }
            None => self.child(module, path),
        }
    }

    /// Returns the path, without `crate`, of a path that begins with `crate` or with a module's child.
    fn child(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        if first == "crate" {
            return Some(rest.to_vec());
        }
        let mut whole = module.path.clone();
        whole.push(first.clone());
        if !self.modules.contains_key(&whole) {
            return None;
        }
        whole.extend_from_slice(rest);
        Some(whole)
    }

    /// Returns the file that defines the item at a path from the root; none for a module, which is no definition.
    fn follow(&self, path: &[String], depth: usize) -> Option<usize> {
        let known = (0..=path.len())
            .rev()
            .find(|end| self.modules.contains_key(&path[..*end]))?;
        let index = self.modules[&path[..known]];
        let module = &self.files[index];
        let name = path.get(known)?;
        if depth > 0 && module.names.contains_key(name) {
            return self.follow(&self.whole(module, &path[known..])?, depth - 1);
        }
        Some(index)
    }
}

impl Module<'_> {
    /// Returns whether a mention is a use of the item, and not only a re-export.
    fn needs(&self, mention: &Mention) -> bool {
        match &mention.import {
            Some(import) if import.is_public => self.used.contains(&import.name),
            _ => true,
        }
    }
}

/// Returns the circles of imports, the largest first: in a circle each file imports, directly or indirectly, from each
/// other file.
pub fn circles<'a>(edges: &[Edge<'a>]) -> Vec<BTreeSet<&'a str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        next.entry(edge.from).or_default().insert(edge.to);
    }
    let reached: BTreeMap<_, _> = next.keys().map(|from| (*from, reach(&next, from))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|there| there.contains(to));
    let mut open: BTreeSet<_> = next.keys().copied().filter(|file| reaches(file, file)).collect();
    let mut circles = Vec::new();
    while let Some(first) = open.pop_first() {
        let (mut circle, rest): (BTreeSet<_>, _) = open
            .into_iter()
            .partition(|file| reaches(first, file) && reaches(file, first));
        circle.insert(first);
        circles.push(circle);
        open = rest;
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// Returns all files from which a file imports, directly or indirectly.
fn reach<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for other in next.get(file).into_iter().flatten() {
            if reached.insert(*other) {
                open.push(other);
            }
        }
    }
    reached
}

fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<_> = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if path
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&&**last))
    {
        path.pop();
    }
    path
}

fn names(mentions: &[Mention]) -> HashMap<String, Vec<String>> {
    let imports = mentions.iter().filter_map(|mention| {
        let import = mention.import.as_ref()?;
        Some((import.name.clone(), mention.path.clone()))
    });
    imports.filter(|(name, _)| name != "*" && name != "_").collect()
}

fn used(mentions: &[Mention]) -> HashSet<String> {
    let plain = mentions.iter().filter(|mention| mention.import.is_none());
    plain
        .filter_map(|mention| mention.path.first().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Crate, circles};
    use crate::tidy::tree::Tree;

    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::of(files);
        let krate = Crate::of(&tree, "src/");
        let edges = krate.edges();
        edges
            .iter()
            .map(|edge| format!("{} {}", edge.from, edge.to))
            .collect()
    }

    #[test]
    fn what_is_passed_on_is_followed_to_its_definition() {
        let found = edges(&[
            ("src/lib.rs", "mod heap; mod queue; pub use queue::Queue;"),
            (
                "src/heap/mod.rs",
                "mod block; pub(crate) use block::Block; pub struct Heap;",
            ),
            ("src/heap/block.rs", "use super::Heap; pub struct Block;"),
            (
                "src/queue.rs",
                "use crate::heap::{Block, self}; fn f() { heap::Heap::new() }",
            ),
        ]);
        assert_eq!(
            found,
            [
                "src/heap/block.rs src/heap/mod.rs",
                "src/queue.rs src/heap/block.rs",
                "src/queue.rs src/heap/mod.rs"
            ]
        );
    }

    #[test]
    fn what_is_passed_on_and_used_too_is_imported() {
        let found = edges(&[
            ("src/lib.rs", ""),
            (
                "src/heap/mod.rs",
                "mod block; pub use block::Block; fn f() -> Block {}",
            ),
            ("src/heap/block.rs", "pub struct Block;"),
        ]);
        assert_eq!(found, ["src/heap/mod.rs src/heap/block.rs"]);
    }

    #[test]
    fn modules_of_a_folder_are_reached_by_their_names_alone() {
        let found = edges(&[
            ("src/lib.rs", ""),
            (
                "src/heap/mod.rs",
                "mod block; use block::Block; fn f() { block::g() }",
            ),
            (
                "src/heap/block.rs",
                "pub struct Block; use std::fs; fn g() { fs::read() }",
            ),
        ]);
        assert_eq!(found, ["src/heap/mod.rs src/heap/block.rs"]);
    }

    #[test]
    fn circles_are_found() {
        let tree = Tree::of(&[
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "use crate::c::C;"),
            ("src/c.rs", "use crate::a::A; use crate::d::D;"),
            ("src/d.rs", "use crate::e::E;"),
            ("src/e.rs", "use crate::d::D;"),
        ]);
        let krate = Crate::of(&tree, "src/");
        let circles: Vec<Vec<_>> = circles(&krate.edges())
            .into_iter()
            .map(|circle| circle.into_iter().collect())
            .collect();
        assert_eq!(
            circles,
            [
                vec!["src/a.rs", "src/b.rs", "src/c.rs"],
                vec!["src/d.rs", "src/e.rs"]
            ]
        );
    }
}
