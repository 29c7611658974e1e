//! Functions that can be sent, as their position in the program's image.

use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::os::image;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A function that [`Process::spawn`](crate::Process::spawn) can run with `Args`: a function of the program, or a
/// closure that captures nothing, of up to six parameters. One parameter is passed as it is, several (or none) as a
/// tuple.
///
/// `Marker` only distinguishes the numbers of parameters; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be run in a process with arguments of type `{Args}`",
    note = "pass a function and its arguments: one by itself, none or several as a tuple; arguments and result must implement serde's Serialize and Deserialize"
)]
pub trait Function<Args, Marker>: Copy + 'static {
    /// The type that the function returns.
    type Output: Serialize + DeserializeOwned;

    /// Calls the function.
    fn call(self, args: Args) -> Self::Output;
}

macro_rules! function {
    ($(($arg:ident, $name:ident)),*) => {
        impl<Func, Out, $($arg),*> Function<($($arg,)*), fn($($arg),*) -> Out> for Func
        where
            Func: Fn($($arg),*) -> Out + Copy + 'static,
            Out: Serialize + DeserializeOwned,
        {
            type Output = Out;
            fn call(self, ($($name,)*): ($($arg,)*)) -> Out {
                self($($name),*)
            }
        }
    };
}
function!();
function!((A, a), (B, b));
function!((A, a), (B, b), (C, c));
function!((A, a), (B, b), (C, c), (D, d));
function!((A, a), (B, b), (C, c), (D, d), (E, e));
function!((A, a), (B, b), (C, c), (D, d), (E, e), (F, f));

impl<Func, Out, A> Function<A, fn(A) -> Out> for Func
where
    Func: Fn(A) -> Out + Copy + 'static,
    Out: Serialize + DeserializeOwned,
{
    type Output = Out;
    fn call(self, arg: A) -> Out {
        self(arg)
    }
}

/// The first part of a start message, before the arguments.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    /// The position of the [`Runner`] to call.
    runner: i64,
    /// Environment variables to set, in a child that is not started as a program.
    pub env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// The working directory to go to, likewise.
    pub cwd: Option<std::ffi::OsString>,
}

/// The first part of a result block: how the function ended.
#[derive(Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The value follows.
    Returned,
    Panicked {
        message: String,
        location: String,
    },
    OtherBuild,
    Failed(String),
}

/// Decodes arguments, runs a function, and encodes what it returns. There is one for each type of function and
/// arguments.
type Runner = fn(&'static Heap, &mut Option<Block>, usize) -> Result<Block>;

fn runner<F, A, M>(heap: &'static Heap, block: &mut Option<Block>, at: usize) -> Result<Block>
where
    F: Function<A, M>,
    A: DeserializeOwned,
{
    let args: A = match block.take() {
        // The block is freed before the function runs.
        Some(block) => codec::decode_block_from(&block, at)?,
        None => return Err(Error::BadHeap("a start message without arguments".to_owned())),
    };
    let output = conjure::<F>().call(args);
    returned(heap, &output)
}

/// Makes the result block of a function that returned.
pub(super) fn returned<R: Serialize>(heap: &'static Heap, value: &R) -> Result<Block> {
    codec::encode_block(heap, &(Outcome::Returned, value))
}

/// Returns the only value of a function's type.
#[allow(unsafe_code)]
fn conjure<F: Copy + 'static>() -> F {
    const {
        assert!(
            size_of::<F>() == 0,
            "only functions and closures that capture nothing can be sent to a process"
        );
    };
    // SAFETY: `F` has no bytes (checked above at compile time) and is `Copy`, and the parent had a value of it, so
    // making one equals copying the parent's.
    unsafe { core::ptr::NonNull::<F>::dangling().read() }
}

/// Makes the start message of a function with its arguments.
pub(super) fn start_block<F, A, M>(
    heap: &'static Heap,
    _function: F,
    args: &A,
    env: &[(std::ffi::OsString, std::ffi::OsString)],
    cwd: Option<&std::ffi::OsStr>,
) -> Result<Block>
where
    F: Function<A, M>,
    A: Serialize + DeserializeOwned,
{
    const {
        assert!(
            size_of::<F>() == 0,
            "only functions and closures that capture nothing can be sent to a process"
        );
    };
    let runner: Runner = runner::<F, A, M>;
    let start = Start {
        runner: image::position(runner as usize),
        env: env.to_vec(),
        cwd: cwd.map(ToOwned::to_owned),
    };
    codec::encode_block(heap, &(start, args))
}

/// Reads the first part of a start message, and where its arguments begin.
pub(super) fn open(block: &Block) -> Result<(Start, usize)> {
    codec::decode_prefix(block)
}

/// Runs the function of a start message. Returns the result block.
#[allow(unsafe_code)]
pub(super) fn run(heap: &'static Heap, start: &Start, block: Block, at: usize) -> Result<Block> {
    // SAFETY: the position was computed by `start_block` from a `Runner` of the same image: the caller has compared the
    // builds, and the heap is reachable by this program only.
    let runner: Runner = unsafe { core::mem::transmute::<usize, Runner>(image::address(start.runner)) };
    runner(heap, &mut Some(block), at)
}
