//! The attributes of the crate `procession`, which re-exports them. Use them from there:
//! `#[procession::main]` and `#[procession::test]`.

use proc_macro::TokenStream;

mod entry;

/// Makes a program able to start processes.
///
/// A process that Procession starts runs this same program, so `main` must first find out whether it runs in a
/// child. This attribute puts a call of `procession::init()` at the start of `main`. In a child, that call runs the
/// child's function and never returns.
///
/// `main` keeps its return type.
///
/// ```ignore
/// use procession::Process;
///
/// fn double(n: u32) -> u32 {
///     n * 2
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     assert_eq!(Process::spawn(double, 21)?.join()?, 42);
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// The program does not compile if the function is not called `main`, is `async` or has parameters. For an
/// `async` program, write a plain `main` that starts the runtime. Children do not need the runtime.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::main(arguments.into(), item.into()).into()
}

/// Makes a test whose body may start processes, with `cargo test` and with `cargo nextest`.
///
/// This attribute replaces `#[test]`. Other attributes, such as `#[ignore]` and `#[should_panic]`, are kept. A child
/// of the test starts the test program again, and runs its own function instead of the tests.
///
/// ```ignore
/// use procession::Process;
///
/// fn double(n: u32) -> u32 {
///     n * 2
/// }
///
/// #[procession::test]
/// fn doubles() {
///     let process = Process::spawn(double, 21).unwrap();
///     assert_eq!(process.join().unwrap(), 42);
/// }
/// ```
///
/// # Errors
///
/// The test does not compile if the function is `async`, has parameters, or is marked `#[test]` as well.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    entry::test(arguments.into(), item.into()).into()
}
