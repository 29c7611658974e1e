//! Rule: the documentation of a function begins with what it does: "Returns", not "Return", "Whether" or "The".
//!
//! What `PyO3` makes a docstring of is Python's, where it is "Return".

use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Lit, Meta};

use super::config::Config;
use super::finding::Finding;
use super::tree::Tree;

/// Returns the functions whose documentation begins with anything but a verb that the settings know.
pub fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, rust) in tree.rust("").filter(|(file, _)| !file.is_test) {
        let mut functions = Functions::default();
        functions.visit_file(rust);
        for function in functions.found {
            let first = function.first.trim_end_matches([',', ':', ';', '.']);
            let expected = |verb: &String| {
                if function.is_docstring {
                    verb.strip_suffix('s') == Some(first) || verb.strip_suffix("es") == Some(first)
                } else {
                    verb == first
                }
            };
            if !config.function_docs.verbs.iter().any(expected) {
                findings.push(Finding::new(
                    &file.path,
                    function.line,
                    complaint(&function.name, first),
                ));
            }
        }
    }
    findings
}

fn complaint(name: &str, first: &str) -> String {
    let hint = if first.ends_with('s') {
        format!("; if `{first}` is such a verb, add it to `verbs` in xtask/tidy.toml")
    } else {
        String::new()
    };
    format!(
        "the documentation of `{name}` begins with \"{first}\": begin with a verb, as in \"Returns …\"{hint}"
    )
}

#[derive(Default)]
struct Functions {
    found: Vec<Function>,
    /// Whether the functions of this `impl` are methods of a Python class.
    in_python_class: bool,
}

/// A function with documentation.
struct Function {
    name: String,
    line: usize,
    /// The first word of its documentation.
    first: String,
    /// Whether Python shows it.
    is_docstring: bool,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, attributes: &[Attribute]) {
        if let Some((line, first)) = attributes.iter().find_map(first_word) {
            let name = signature.ident.to_string();
            let is_getter = has(attributes, "getter");
            let is_docstring = self.in_python_class || has(attributes, "pyfunction");
            // An attribute's documentation says what it is.
            if !is_getter {
                self.found.push(Function {
                    name,
                    line,
                    first,
                    is_docstring,
                });
            }
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, methods: &'ast syn::ItemImpl) {
        self.in_python_class = has(&methods.attrs, "pymethods");
        visit::visit_item_impl(self, methods);
        self.in_python_class = false;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.add(&function.sig, &function.attrs);
        visit::visit_trait_item_fn(self, function);
    }
}

/// Returns whether one of the attributes has this name.
fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

/// Returns the first word of a line of documentation, and the line's number.
fn first_word(attribute: &Attribute) -> Option<(usize, String)> {
    let Meta::NameValue(doc) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(literal) = &doc.value else {
        return None;
    };
    let Lit::Str(text) = &literal.lit else { return None };
    let text_of_doc = doc.path.is_ident("doc").then(|| text.value())?;
    let word = text_of_doc.split_whitespace().next()?.to_owned();
    Some((text.span().start().line, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let mut config = Config::default();
        config.function_docs.verbs = vec!["Returns".to_owned(), "Waits".to_owned()];
        let tree = Tree::of(&[("src/a.rs", text)]);
        check(&tree, &config).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn documentation_that_begins_with_no_verb_is_found() {
        let text = "\
/// Returns it.\nfn a() {}\n/// Whether it is.\nfn b() {}\nimpl A {\n/// The number.\nfn c() {}\n}\n\
trait B {\n/// Return it.\nfn d();\n}\n/// Waits, and goes on.\n#[inline]\nfn e() {}\nfn f() {}\n";
        assert_eq!(lines(text), [3, 6, 10]);
    }

    #[test]
    fn docstrings_are_imperative() {
        let text = "\
#[pymethods]\nimpl A {\n/// Return it.\nfn a() {}\n/// Returns it.\nfn b() {}\n/// The number.\n#[getter]\nfn c() {}\n}\n\
/// Wait.\n#[pyfunction]\nfn d() {}\nimpl A {\n/// Wait.\nfn e() {}\n}\n";
        assert_eq!(lines(text), [5, 15]);
    }

    #[test]
    fn a_new_verb_is_told_where_to_go() {
        assert!(complaint("f", "Sings").contains("xtask/tidy.toml"));
        assert!(!complaint("f", "The").contains("xtask/tidy.toml"));
    }
}
