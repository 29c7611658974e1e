//! The paths that the code of a file mentions, without tests.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Stmt, UseTree};

use super::cfg;

/// A path that is mentioned.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    pub line: usize,
    /// The segments. A path that begins with `crate`, `self` or `super` is stored in full, from `crate` on.
    pub path: Vec<String>,
    /// The name that a `use` gives to the path.
    pub import: Option<Import>,
}

/// The name that a `use` makes of a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// `*`: all names in it.
    pub name: String,
    /// Whether other modules may use the name: `pub use`.
    pub is_public: bool,
}

/// Returns all paths that a file mentions. The file is the module `module` of its crate.
pub fn mentions(file: &syn::File, module: &[String]) -> Vec<Mention> {
    let mut collector = Collector {
        module: module.to_vec(),
        found: Vec::new(),
    };
    collector.visit_file(file);
    collector.found
}

struct Collector {
    /// The module of the code, including inline modules.
    module: Vec<String>,
    found: Vec<Mention>,
}

impl Collector {
    fn add(&mut self, line: usize, path: &[String], import: Option<Import>) {
        if let Some(path) = self.absolute(path) {
            self.found.push(Mention { line, path, import });
        }
    }

    /// Returns a path from the crate's root, if the code gives it relative to the root or to the module.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let above = path.iter().take_while(|segment| *segment == "super").count();
        let start = match path.first()?.as_str() {
            "crate" => &[],
            "self" => &self.module[..],
            "super" => &self.module[..self.module.len().checked_sub(above)?],
            _ => return Some(path.to_vec()),
        };
        let mut whole = vec!["crate".to_owned()];
        whole.extend_from_slice(start);
        whole.extend_from_slice(&path[above.max(1)..]);
        Some(whole)
    }

    fn flatten(&mut self, tree: &UseTree, path: &mut Vec<String>, is_public: bool) {
        let (ident, name) = match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.flatten(&part.tree, path, is_public);
                path.pop();
                return;
            }
            UseTree::Group(group) => {
                for part in &group.items {
                    self.flatten(part, path, is_public);
                }
                return;
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                let name = "*".to_owned();
                self.add(line, path, Some(Import { name, is_public }));
                return;
            }
            UseTree::Name(part) => (&part.ident, &part.ident),
            UseTree::Rename(part) => (&part.ident, &part.rename),
        };
        let (line, mut name) = (ident.span().start().line, name.to_string());
        if ident == "self" {
            name = path.last().cloned().unwrap_or(name);
            self.add(line, path, Some(Import { name, is_public }));
        } else {
            path.push(ident.to_string());
            self.add(line, path, Some(Import { name, is_public }));
            path.pop();
        }
    }

    /// Looks for paths among unparsed tokens: arguments and bodies of macros.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 || path.is_empty() {
                        self.add(line, &std::mem::take(&mut path), None);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            self.add(line, &std::mem::take(&mut path), None);
            colons = 0;
        }
        self.add(line, &path, None);
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if cfg::is_for_tests(attributes(item)) {
            return;
        }
        let inline = match item {
            Item::Mod(module) if module.content.is_some() => Some(module.ident.to_string()),
            _ => None,
        };
        let depth = self.module.len();
        self.module.extend(inline);
        visit::visit_item(self, item);
        self.module.truncate(depth);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Fn(function) => &function.attrs,
            ImplItem::Const(constant) => &constant.attrs,
            _ => &[],
        };
        if !cfg::is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let attributes: &[Attribute] = match statement {
            Stmt::Local(local) => &local.attrs,
            Stmt::Macro(call) => &call.attrs,
            _ => &[],
        };
        if !cfg::is_for_tests(attributes) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.flatten(&item.tree, &mut Vec::new(), is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if let Some(first) = path.segments.first() {
            self.add(first.ident.span().start().line, &segments, None);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.scan(call.tokens.clone());
    }

    /// Skips visibilities and attributes: they mention paths without using them.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::mentions;

    fn paths(text: &str) -> Vec<String> {
        let file = syn::parse_file(text).expect("Rust");
        let found = mentions(&file, &["queue".to_owned(), "view".to_owned()]);
        let long = found.iter().filter(|mention| mention.path.len() > 1);
        long.map(|mention| format!("{}:{}", mention.line, mention.path.join("::")))
            .collect()
    }

    #[test]
    fn imports_are_told_one_by_one_from_the_root() {
        let text =
            "use crate::heap::{self, block::{BLOCK, Slot as S}};\nuse super::ring::*;\nuse self::put::Put;";
        assert_eq!(
            paths(text),
            [
                "1:crate::heap",
                "1:crate::heap::block::BLOCK",
                "1:crate::heap::block::Slot",
                "2:crate::queue::ring",
                "3:crate::queue::view::put::Put"
            ]
        );
    }

    #[test]
    fn paths_in_code_and_in_macros_are_found() {
        let text = "fn f(x: Vec<libc::pid_t>) { g(crate::os::now()); assert!(h[rustix::io::read(0)], a.b) }\n\
                    macro_rules! m { () => { $crate::heap::X } }\nmod inline { use super::super::Y; }";
        assert_eq!(
            paths(text),
            [
                "1:libc::pid_t",
                "1:crate::os::now",
                "1:rustix::io::read",
                "2:crate::heap::X",
                "3:crate::queue::Y"
            ]
        );
    }

    #[test]
    fn tests_are_left_aside() {
        let text = "#[cfg(test)] use libc::a;\n#[cfg(all(test, not(loom)))] mod t { use libc::b; }\n\
                    impl A { #[cfg(test)] fn c() { libc::c() } }\nfn d() { #[cfg(test)] let x = libc::d(); }\n\
                    #[test] fn e() { libc::e() }";
        assert_eq!(paths(text), [""; 0]);
    }
}
