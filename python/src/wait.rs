//! Waiting with the interpreter released, until a deadline or Ctrl-C.

use procession::Error;
use procession::bindings::{self, Deadline};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::time::Duration;

thread_local! {
    /// The exception that a Python signal handler raised during a wait of this thread.
    static PENDING: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Makes the engine's waits run Python's signal handlers.
pub fn install() {
    // Python's handlers interrupt system calls, so a sleeping thread wakes.
    bindings::on_signal(look_for_signals);
}

/// Runs Python's signal handlers that are due, and returns whether one raised. Does nothing outside the main thread.
fn look_for_signals() -> bool {
    if bindings::own_thread() != std::process::id() {
        return false;
    }
    let raised = Python::try_attach(|py| py.check_signals().err()).flatten();
    let ends = raised.is_some();
    PENDING.with_borrow_mut(|pending| *pending = raised);
    ends
}

/// Runs Python's signal handlers that are due. For callers whose next system call sleeps: a signal that came before
/// that call does not interrupt it.
pub fn look_for_signals_now(py: Python<'_>) -> PyResult<()> {
    if bindings::own_thread() == std::process::id() {
        py.check_signals()
    } else {
        Ok(())
    }
}

/// Returns the exception that ended the wait that was interrupted.
pub fn pending() -> PyErr {
    PENDING
        .take()
        .unwrap_or_else(|| PyRuntimeError::new_err("a wait was interrupted"))
}

/// Returns the deadline of a call with these arguments. A negative timeout is over at once, as in `queue`.
pub fn deadline(block: bool, timeout: Option<f64>) -> Deadline {
    match timeout {
        _ if !block => Deadline::Now,
        None => Deadline::Never,
        Some(seconds) if seconds > 0.0 => {
            Deadline::after(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        Some(_) => Deadline::Now,
    }
}

/// Runs `attempt` with the interpreter held and without waiting. If that ends with `Full` or `Empty` before the
/// deadline, or with `Busy`, runs it again with the interpreter released, until the deadline.
#[inline]
pub fn patiently<T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    mut attempt: impl FnMut(Deadline) -> procession::Result<T> + Send,
) -> procession::Result<T> {
    match awake(py, || attempt(Deadline::Now)) {
        Err(Error::Busy) => {}
        Err(Error::Full | Error::Empty) if deadline != Deadline::Now => {}
        answer => return answer,
    }
    py.detach(|| attempt(deadline))
}

/// Runs `work`, which seldom sleeps, with the interpreter held. If it would sleep, because another thread or process is
/// in the middle of a change to shared memory, runs it again with the interpreter released.
#[inline]
pub fn briefly<T: Send>(
    py: Python<'_>,
    mut work: impl FnMut() -> procession::Result<T> + Send,
) -> procession::Result<T> {
    match awake(py, &mut work) {
        Err(Error::Busy) => py.detach(work),
        answer => answer,
    }
}

/// Runs `work` with the interpreter held, and never sleeps while another thread or process is in the middle of a change
/// to shared memory. If `work` can return an error, it returns `Busy` instead of sleeping; [`briefly`] is for such
/// work.
#[inline]
pub fn awake<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let (answer, owes_news) = bindings::awake(work);
    if owes_news {
        py.detach(bindings::tell_news);
    }
    answer
}

/// Drops `thing`, which refers to a shared object. Dropping it takes a transaction. If another one is going on, it may
/// have to sleep, and so releases the interpreter meanwhile.
pub fn let_go<T: Send>(thing: T) {
    if bindings::is_busy() {
        let_go_of_much(thing);
    }
}

/// Drops `thing` with the interpreter released, because that takes long.
#[cold]
pub fn let_go_of_much<T: Send>(thing: T) {
    let mut thing = Some(thing);
    // If the interpreter has ended, no thread waits for it.
    let _ = Python::try_attach(|py| py.detach(|| drop(thing.take())));
}

/// Copying this many bytes or more releases the interpreter.
pub const MUCH: usize = 64 << 10;

/// How many times a thread checks before it releases the interpreter. This takes about a microsecond, less than
/// releasing it.
const MOMENT: u32 = 24;

/// Calls `done` until it returns true, at most [`MOMENT`] times, with the interpreter held.
#[inline]
pub fn for_a_moment(mut done: impl FnMut() -> bool) {
    for round in 0..MOMENT {
        if done() {
            return;
        }
        for _ in 0..round.min(8) {
            std::hint::spin_loop();
        }
    }
}
