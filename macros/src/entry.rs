//! The expansion of both attributes: each puts one statement at the start of a function without parameters.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, ItemFn, Result, parse_quote};

/// Expands `#[procession::main]`.
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand_main(arguments, item).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        // The empty function prevents a second error of the compiler, that there is no `main`.
        quote! { #error fn main() {} }
    })
}

/// Expands `#[procession::test]`.
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand_test(arguments, item).unwrap_or_else(Error::into_compile_error)
}

/// Puts a call of `init` at the start of `main`.
fn expand_main(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut function = plain_function("procession::main", arguments, item)?;
    if function.sig.ident != "main" {
        let message = "#[procession::main] belongs on the function `main` of a program";
        return Err(Error::new_spanned(&function.sig.ident, message));
    }
    function
        .block
        .stmts
        .insert(0, parse_quote! { ::procession::init(); });
    Ok(function.into_token_stream())
}

/// Makes a test of a function, and puts a call of `test_entry` at its start.
fn expand_test(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut function = plain_function("procession::test", arguments, item)?;
    if let Some(second) = function
        .attrs
        .iter()
        .find(|attribute| attribute.path().is_ident("test"))
    {
        let message = "#[procession::test] takes the place of #[test]: remove #[test]";
        return Err(Error::new_spanned(second, message));
    }
    let name = &function.sig.ident;
    let entry = parse_quote! {
        ::procession::__private::test_entry(::core::concat!(
            ::core::module_path!(),
            "::",
            ::core::stringify!(#name)
        ));
    };
    function.block.stmts.insert(0, entry);
    function
        .attrs
        .insert(0, parse_quote! { #[::core::prelude::v1::test] });
    Ok(function.into_token_stream())
}

/// Parses a function that is neither `async` nor takes parameters, under an attribute without arguments.
fn plain_function(attribute: &str, arguments: TokenStream, item: TokenStream) -> Result<ItemFn> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            format!("#[{attribute}] takes no arguments"),
        ));
    }
    let function: ItemFn = syn::parse2(item)?;
    if let Some(token) = &function.sig.asyncness {
        let message = format!(
            "#[{attribute}] cannot stand on an `async` function: make it a plain function that starts the runtime"
        );
        return Err(Error::new_spanned(token, message));
    }
    if !function.sig.inputs.is_empty() {
        let message = format!("a function under #[{attribute}] takes no parameters");
        return Err(Error::new_spanned(&function.sig.inputs, message));
    }
    Ok(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Removes the spaces, so that a test does not depend on how tokens are printed.
    fn dense(tokens: TokenStream) -> String {
        tokens.to_string().replace(char::is_whitespace, "")
    }

    fn none() -> TokenStream {
        TokenStream::new()
    }

    #[test]
    fn main_starts_with_init_and_keeps_its_return_type() {
        let program = main(none(), quote! { fn main() -> Result<(), E> { work()?; Ok(()) } });
        assert_eq!(
            dense(program),
            "fnmain()->Result<(),E>{::procession::init();work()?;Ok(())}"
        );
    }

    #[test]
    fn a_test_names_itself_and_keeps_its_attributes() {
        let program = dense(test(none(), quote! { #[ignore = "slow"] fn sums() { work(); } }));
        assert!(
            program.starts_with("#[::core::prelude::v1::test]#[ignore=\"slow\"]fnsums(){"),
            "{program}"
        );
        assert!(
            program.contains("::procession::__private::test_entry(::core::concat!("),
            "{program}"
        );
        assert!(
            program.contains("::core::stringify!(sums)));work();}"),
            "{program}"
        );
    }

    #[test]
    fn a_function_that_cannot_work_is_refused() {
        let cases = [
            (
                main(none(), quote! { async fn main() {} }),
                "cannot stand on an `async` function",
            ),
            (main(none(), quote! { fn main(n: u8) {} }), "takes no parameters"),
            (
                main(none(), quote! { fn start() {} }),
                "belongs on the function `main`",
            ),
            (
                main(quote! { daemon }, quote! { fn main() {} }),
                "takes no arguments",
            ),
            (main(none(), quote! { struct Main; }), "expected `fn`"),
            (
                test(none(), quote! { async fn t() {} }),
                "cannot stand on an `async` function",
            ),
            (test(none(), quote! { fn t(n: u8) {} }), "takes no parameters"),
            (
                test(none(), quote! { #[test] fn t() {} }),
                "takes the place of #[test]",
            ),
        ];
        for (program, message) in cases {
            let program = program.to_string();
            assert!(
                program.contains("compile_error") && program.contains(message),
                "{program}"
            );
        }
    }
}
