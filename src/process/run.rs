//! Running a process's function, and leaving its result to the parent.

use super::function::{self, Outcome};
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::{Block, result_field, start_field};
use crate::heap::table::index_of;
use crate::os;
use crate::panic::{self, Panic};
use std::ffi::{OsStr, OsString};

/// The exit code of a child whose function panicked: that of a program whose `main` panics.
const PANICKED: i32 = 101;

/// Runs this process's function and leaves its result. Returns the exit code.
pub(super) fn run(heap: &'static Heap) -> i32 {
    let index = index_of(heap.me());
    os::fork::set_name(&heap.name_of(heap.me()));
    let outcome = panic::catch(|| {
        let missing = || Error::BadHeap("this process has no start message".to_owned());
        let block = heap.take_from_entry(start_field(index))?.ok_or_else(missing)?;
        let (start, at) = function::open(&block)?;
        surround(&start.env, start.cwd.as_deref())?;
        function::run(heap, &start, block, at)
    });
    conclude(heap, outcome)
}

/// Runs a closure in a forked child and leaves its result. Returns the exit code.
pub(super) fn run_closure<R: serde::Serialize>(
    heap: &'static Heap,
    env: &[(OsString, OsString)],
    cwd: Option<&OsStr>,
    closure: impl FnOnce() -> R,
) -> i32 {
    os::fork::set_name(&heap.name_of(heap.me()));
    let outcome = panic::catch(|| {
        surround(env, cwd)?;
        function::returned(heap, &closure())
    });
    conclude(heap, outcome)
}

/// Sets the environment and the working directory of a forked child.
fn surround(env: &[(OsString, OsString)], cwd: Option<&OsStr>) -> Result<()> {
    for (name, value) in env {
        os::spawn::set_variable(name, value)?;
    }
    match cwd {
        Some(cwd) => Ok(std::env::set_current_dir(cwd)?),
        None => Ok(()),
    }
}

/// Leaves the result, the error or the panic to the parent. Returns the exit code.
fn conclude(heap: &'static Heap, outcome: Result<Result<Block>, Panic>) -> i32 {
    let (block, code) = match outcome {
        Ok(Ok(block)) => (Ok(block), 0),
        Ok(Err(error)) => (codec::encode_block(heap, &Outcome::Failed(error.to_string())), 1),
        Err(Panic { message, location }) => (
            codec::encode_block(heap, &Outcome::Panicked { message, location }),
            PANICKED,
        ),
    };
    finish(heap, block);
    code
}

/// Hands a result block to this process's entry.
pub(super) fn finish(heap: &'static Heap, block: Result<Block>) {
    let handed = block.and_then(|block| heap.hand_to_entry(block, result_field(index_of(heap.me()))));
    if let Err(error) = handed {
        eprintln!("procession: the result of this process is lost: {error}");
    }
}
