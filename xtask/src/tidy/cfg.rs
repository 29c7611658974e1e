//! Finding code that is only for tests.

use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token};

/// Configurations in which users never build the crate.
const TESTS: [&str; 2] = ["test", "fuzzing"];

/// The possible values of a condition when no tests run.
#[derive(Clone, Copy)]
struct Can {
    hold: bool,
    fail: bool,
}

/// Returns whether an item with these attributes is compiled only for tests.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.is_ident("cfg") {
            return attribute.parse_args::<Meta>().is_ok_and(|meta| !can(&meta).hold);
        }
        path.segments.last().is_some_and(|last| last.ident == "test")
    })
}

fn can(meta: &Meta) -> Can {
    let anything = Can {
        hold: true,
        fail: true,
    };
    match meta {
        Meta::Path(path) if TESTS.iter().any(|test| path.is_ident(test)) => Can {
            hold: false,
            fail: true,
        },
        Meta::List(list) => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            let parts: Vec<_> = parts.iter().flatten().map(can).collect();
            if list.path.is_ident("all") {
                Can {
                    hold: parts.iter().all(|part| part.hold),
                    fail: parts.iter().any(|part| part.fail),
                }
            } else if list.path.is_ident("any") {
                Can {
                    hold: parts.iter().any(|part| part.hold),
                    fail: parts.iter().all(|part| part.fail),
                }
            } else {
                // `not`, of one.
                parts.first().map_or(anything, |part| Can {
                    hold: part.fail,
                    fail: part.hold,
                })
            }
        }
        _ => anything,
    }
}

#[cfg(test)]
mod tests {
    use super::is_for_tests;

    fn check(attribute: &str) -> bool {
        let item: syn::ItemFn = syn::parse_str(&format!("{attribute} fn f() {{}}")).expect("Rust");
        is_for_tests(&item.attrs)
    }

    #[test]
    fn what_only_tests_compile_is_for_tests() {
        for attribute in [
            "#[cfg(test)]",
            "#[cfg(all(test, not(loom)))]",
            "#[cfg(any(all(test, not(loom)), fuzzing))]",
            "#[test]",
            "#[procession::test]",
        ] {
            assert!(check(attribute), "{attribute}");
        }
    }

    #[test]
    fn what_others_compile_too_is_not() {
        for attribute in [
            "",
            "#[inline]",
            "#[cfg(not(test))]",
            "#[cfg(any(not(test), loom))]",
            "#[cfg(all(not(loom), target_arch = \"x86_64\"))]",
            "#[cfg(loom)]",
        ] {
            assert!(!check(attribute), "{attribute}");
        }
    }
}
