//! What a parent tells a child that it starts as a program, in an environment variable and in the arguments.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// The environment variable with a [`StartOrder`].
pub(super) const VARIABLE: &str = "PROCESSION_START";

/// The name of the test that reaches `init()`, if this program is a test harness.
static TEST: OnceLock<String> = OnceLock::new();

/// What a parent tells a child that it starts as a program.
pub(super) struct StartOrder {
    /// The descriptor of the heap, or a negative number in its place: see `Heap::descriptor`.
    pub heap: RawFd,
    pub heap_id: u64,
    /// Owner id.
    pub id: u32,
    /// The descriptor with the lock of the child's witness, -1 for none.
    pub claim: RawFd,
    pub fork_server: bool,
    /// The read end of the lifeline, -1 for none.
    pub lifeline: RawFd,
    /// The socket to a fork server that the child may use, or the socket of the fork server itself; -1 for none.
    pub server: RawFd,
    /// The later standard output of a test, to which its harness must not write; -1 for none.
    pub stdout: RawFd,
}

impl StartOrder {
    /// Returns the environment variable: name and value.
    pub(super) fn variable(&self) -> (String, String) {
        let Self {
            heap,
            heap_id,
            id,
            claim,
            fork_server,
            lifeline,
            server,
            stdout,
        } = self;
        let role = u8::from(*fork_server);
        (
            VARIABLE.to_owned(),
            format!("{heap}:{heap_id}:{id}:{claim}:{role}:{lifeline}:{server}:{stdout}"),
        )
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::BadHeap(format!(
                "{VARIABLE}={text:?} is not what a parent process of this version writes; unset the variable"
            ))
        };
        let numbers: Option<Vec<i128>> = text.split(':').map(|n| n.parse().ok()).collect();
        let Some(&[heap, heap_id, id, claim, role, lifeline, server, stdout]) = numbers.as_deref() else {
            return Err(bad());
        };
        let fd = |n: i128| RawFd::try_from(n).map_err(|_| bad());
        Ok(Self {
            heap: fd(heap)?,
            heap_id: u64::try_from(heap_id).map_err(|_| bad())?,
            id: u32::try_from(id).map_err(|_| bad())?,
            claim: fd(claim)?,
            fork_server: role == 1,
            lifeline: fd(lifeline)?,
            server: fd(server)?,
            stdout: fd(stdout)?,
        })
    }
}

/// Notes that this program is a test harness, which reaches `init()` in the test with this module path and name.
pub(crate) fn run_as_test(path: &str) {
    // The harness names tests without the crate's name.
    TEST.get_or_init(|| path.split_once("::").map_or(path, |(_, rest)| rest).to_owned());
}

/// Returns the arguments for a copy of this program, and whether a test harness writes to its standard output at
/// first.
pub(super) fn own_arguments() -> (Vec<OsString>, bool) {
    let mut own = std::env::args_os();
    match TEST.get() {
        None => (own.collect(), false),
        Some(path) => {
            let words = [
                path,
                "--exact",
                "--nocapture",
                "--include-ignored",
                "--test-threads=1",
            ];
            (own.by_ref().take(1).chain(words.map(Into::into)).collect(), true)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::StartOrder;
    use proptest::prelude::*;

    proptest! {
        /// Checks that any value of the variable, which comes from outside, is an order or an error.
        #[test]
        fn any_text_is_an_order_or_an_error(text in "[-0-9:x]{0,60}|.*") {
            let _ = StartOrder::parse(&text);
        }

        #[test]
        fn an_order_is_read_as_it_was_written(
            heap in 0..1000, heap_id: u64, id: u32, claim in -1..1000, fork_server: bool, lifeline in -1..1000,
            server in -1..1000
        ) {
            let order = StartOrder { heap, heap_id, id, claim, fork_server, lifeline, server, stdout: -1 };
            let read = StartOrder::parse(&order.variable().1).expect("our own");
            prop_assert_eq!(read.variable(), order.variable());
        }
    }
}
