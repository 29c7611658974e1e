//! Waiting with the interpreter let go, for as long as Python says, until Ctrl-C.

use procession::Error;
use procession::bindings::{self, Deadline};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::time::Duration;

thread_local! {
    /// What a Python signal handler raised during a wait of this thread.
    static PENDING: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Has the engine's waits look for signals.
pub fn install() {
    // Python's handlers interrupt system calls.
    bindings::on_signal(look_for_signals);
}

/// Runs Python's signal handlers, if any are due; whether one raised. Only the main thread runs them.
fn look_for_signals() -> bool {
    if bindings::own_thread() != std::process::id() {
        return false;
    }
    let raised = Python::try_attach(|py| py.check_signals().err()).flatten();
    let ends = raised.is_some();
    PENDING.with_borrow_mut(|pending| *pending = raised);
    ends
}

/// Runs Python's signal handlers, if any are due, where the next call sleeps and nothing would end it for them.
pub fn look_for_signals_now(py: Python<'_>) -> PyResult<()> {
    if bindings::own_thread() == std::process::id() {
        py.check_signals()
    } else {
        Ok(())
    }
}

/// What ended the wait that was interrupted.
pub fn pending() -> PyErr {
    PENDING
        .take()
        .unwrap_or_else(|| PyRuntimeError::new_err("a wait was interrupted"))
}

/// Until when a call with these arguments waits. Negative spans are over at once, as in `queue`.
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

/// Tries at once and, where that ends with `Full` or `Empty` and there is time, or somebody is in the middle of a change, again
/// with the interpreter let go.
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

/// Does something that takes an instant most of the time; where it would have to sleep, because somebody is in the middle of a
/// change, again with the interpreter let go.
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

/// Does something with the interpreter held, in which this thread does not sleep over somebody who is in the middle of a change.
/// What has an error to answer with, answers `Busy` instead; [`briefly`] is for that.
#[inline]
pub fn awake<T>(py: Python<'_>, work: impl FnOnce() -> T) -> T {
    let (answer, owes_news) = bindings::awake(work);
    if owes_news {
        py.detach(bindings::tell_news);
    }
    answer
}

/// Gives up `thing`, which refers to something shared: with the interpreter let go if somebody is in the middle of a change.
pub fn let_go<T: Send>(thing: T) {
    if bindings::is_busy() {
        let_go_of_much(thing);
    }
}

/// The same for what takes a while in any case.
#[cold]
pub fn let_go_of_much<T: Send>(thing: T) {
    let mut thing = Some(thing);
    // Where there is no interpreter any more, nobody waits for it.
    let _ = Python::try_attach(|py| py.detach(|| drop(thing.take())));
}

/// Rounds of looking before the interpreter is let go, about a microsecond: less than letting go of it costs.
const MOMENT: u32 = 24;

/// Looks `done` a few times, with the interpreter held.
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
