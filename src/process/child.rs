//! The child's side: from `init()` to the end of its function.

use super::children;
use super::forkserver;
use super::function::{self, Outcome};
use super::leave;
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::{Block, result_field, start_field};
use crate::heap::table::index_of;
use crate::os;
use crate::panic::{self, Panic};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::{Once, OnceLock};

/// Environment variable through which a started program learns what it is.
const VARIABLE: &str = "PROCESSION_START";
/// Exit code of a child that could not be told anything.
const LOST: i32 = 100;
/// Exit code of a child whose function panicked, as a program whose main panics.
const PANICKED: i32 = 101;

static READY: Once = Once::new();

/// The arguments with which a copy of this program reaches `init()`: those of a test, or our own.
static TEST: OnceLock<String> = OnceLock::new();

/// Prepares this program to start processes; call it first in `main`, or put `#[procession::main]` on `main`.
///
/// In a process that was started by [`Process`](crate::Process) this runs the process's function and ends the process:
/// it never returns there. So what stands before it in `main` runs in every child as well.
///
/// When the program ends well, it waits for its processes as Python does, and ends its daemons; after a second it says on
/// standard error for whom it waits. When it ends by an error (`main` returns one or panics, or
/// [`exit`](std::process::exit) is called with another code than 0), it ends its processes, and those that these have
/// started: by SIGTERM, and a second later by SIGKILL. The same holds for each of its processes at its own end.
///
/// # Panics
///
/// Never. A child that cannot find its parent's shared memory says so on standard error and exits.
pub fn init() {
    for helper in crate::program::HELPERS {
        if let Ok(order) = std::env::var(helper.variable) {
            (helper.serve)(&order);
        }
    }
    if let Ok(order) = std::env::var(VARIABLE) {
        // A program that this one starts by other means is not our child.
        os::spawn::forget_variable(VARIABLE);
        if let Err(error) = StartOrder::parse(&order).and_then(become_child) {
            eprintln!("procession: this process cannot start: {error}");
            std::process::exit(LOST);
        }
    }
    prepare();
}

fn prepare() {
    if READY.is_completed() {
        return;
    }
    // Who forks does so before all this or after it.
    crate::heap::fork::install_handlers();
    let _steady = crate::heap::fork::steady();
    READY.call_once(|| {
        leave::at_exit();
        crate::heap::fork::on_child(children::reset);
        // Early: the standard library's lock around the hook may be held by another thread when a process is forked, and
        // for ever in the child.
        panic::install_hook();
    });
}

/// Whether `init` ran, so that a copy of this program will know that it is a child.
pub(super) fn is_ready() -> bool {
    READY.is_completed()
}

/// The start of a test: like [`init`], in a program whose `main` is the test harness. `path` is the test's module path
/// and name.
pub fn test_entry(path: &str) {
    // The harness names tests without the crate.
    TEST.get_or_init(|| path.split_once("::").map_or(path, |(_, rest)| rest).to_owned());
    init();
}

/// What the parent says to a child it starts as a program.
pub(super) struct StartOrder {
    /// The descriptor of the heap, or a negative number that stands for it: see `Heap::descriptor`.
    pub heap: RawFd,
    pub heap_id: u64,
    /// Owner id.
    pub id: u32,
    /// The lock that is to witness its life, -1 for none.
    pub claim: RawFd,
    pub fork_server: bool,
    /// -1 for none, as in the following.
    pub lifeline: RawFd,
    /// A fork server that the child may use, or the end where a fork server listens.
    pub server: RawFd,
    /// What is to be standard output, where the program's own start would write to it.
    pub stdout: RawFd,
}

impl StartOrder {
    /// As the value of an environment variable.
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

    fn parse(text: &str) -> Result<Self> {
        let bad = || Error::BadHeap(format!("{VARIABLE}={text:?} is not of this crate's making"));
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

/// Arguments for a copy of this program, and whether its standard output is the test harness's for a while.
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

fn optional(fd: RawFd) -> Result<Option<OwnedFd>> {
    if fd < 0 {
        Ok(None)
    } else {
        os::descriptor::inherited(fd).map(Some)
    }
}

fn become_child(order: StartOrder) -> Result<()> {
    let heap = Heap::attach(order.heap, order.heap_id, crate::program::KINDS)?;
    let claim = optional(order.claim)?;
    let (lifeline, server) = (optional(order.lifeline)?, optional(order.server)?);
    if let Some(stdout) = optional(order.stdout)? {
        os::stdio::become_stdio(stdout.as_fd(), 1)?;
    }
    heap.adopt_entry(order.id, claim.as_ref().map(AsFd::as_fd))?;
    drop(claim);
    if let Some(lifeline) = &lifeline {
        core::mem::forget(os::lifeline::die_with(lifeline.as_fd())?);
    }
    prepare();
    if heap.build() != os::image::identity()? {
        finish(heap, codec::encode_block(heap, &Outcome::OtherBuild));
        std::process::exit(LOST);
    }
    if order.fork_server {
        let server = server.ok_or_else(|| Error::BadHeap("a fork server without a socket".to_owned()))?;
        forkserver::serve(heap, server);
    }
    if let Some(server) = server {
        forkserver::inherit(server);
    }
    std::process::exit(run(heap));
}

/// Runs this process's function and leaves its result; the exit code.
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

/// Runs a closure in a forked child; the exit code.
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

/// Gives a forked child the environment and the working directory that were asked for.
fn surround(env: &[(OsString, OsString)], cwd: Option<&OsStr>) -> Result<()> {
    for (name, value) in env {
        os::spawn::set_variable(name, value)?;
    }
    match cwd {
        Some(cwd) => Ok(std::env::set_current_dir(cwd)?),
        None => Ok(()),
    }
}

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

fn finish(heap: &'static Heap, block: Result<Block>) {
    let handed = block.and_then(|block| heap.hand_to_entry(block, result_field(index_of(heap.me()))));
    if let Err(error) = handed {
        eprintln!("procession: the result of this process is lost: {error}");
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::StartOrder;
    use proptest::prelude::*;

    proptest! {
        /// The variable comes from outside: whatever it says is an order or an error.
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
