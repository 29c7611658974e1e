//! How children that the standard library starts join the program.
//!
//! The parent reserves an entry of the process table for the child and stores the process object there. A join token
//! names the entry; the child presents the token to join, and then takes the process object.

use crate::errors::OrRaise;
use crate::message;
use crate::wait;
use procession::bindings::{self, JoinToken};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// Reserve an entry for a child that is about to be started, and return its join token for `attach`.
///
/// The token consists of the heap's descriptor, the heap's id, the entry's id, and the descriptor of the lock that
/// shows that the child is alive (-1 for none).
#[pyfunction]
pub fn new_join_token(py: Python<'_>, name: &str) -> PyResult<(i32, u64, u32, i32)> {
    let JoinToken { fd, heap, id, claim } = py.detach(|| JoinToken::new(name)).or_raise(py)?;
    Ok((fd, heap, id, claim))
}

/// Say that the child with this join token was started, or will not be: from now on its lock is its own.
#[pyfunction]
pub fn started(fd: i32, heap: u64, id: u32, claim: i32) {
    JoinToken { fd, heap, id, claim }.started();
}

/// Store `object`, with the queues and locks in it, for the child with this join token.
#[pyfunction]
pub fn leave(object: &Bound<'_, PyAny>, fd: i32, heap: u64, id: u32, claim: i32) -> PyResult<()> {
    let parcel = message::encode_parcel(object)?.into_inner();
    let token = JoinToken { fd, heap, id, claim };
    let py = object.py();
    py.detach(|| token.leave(parcel)).or_raise(py)
}

/// Join the program, in the child. The descriptors belong to the engine from here on.
#[pyfunction]
pub fn attach(py: Python<'_>, fd: i32, heap: u64, id: u32, claim: i32) -> PyResult<()> {
    py.detach(|| bindings::attach(JoinToken { fd, heap, id, claim }))
        .or_raise(py)
}

/// Return the object that the parent has stored, in the child.
#[pyfunction]
pub fn start_object(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match py.detach(bindings::take_start).or_raise(py)? {
        Some(parcel) => message::decode_parcel(py, parcel.into(), false),
        None => Err(PyRuntimeError::new_err(
            "the parent of this process stored no process object for it",
        )),
    }
}

/// Say that a child is dead and reaped, so that what it held is released.
///
/// The child is given by its entry (0: none was reserved) or by its pid (0: it was never started).
#[pyfunction]
pub fn ended(py: Python<'_>, id: u32, pid: u32) {
    // This fails only if there is no memory. Then another process clears up later.
    let _ = py.detach(|| bindings::ended(id, pid));
}

/// Return whether the child with this entry (0: not known) and this pid is alive.
#[pyfunction]
pub fn is_alive(id: u32, pid: u32) -> bool {
    bindings::is_alive(id, pid)
}

/// Return the entry of the child that this thread has forked last, 0 if it has none.
#[pyfunction]
pub fn last_child() -> u32 {
    bindings::last_child()
}

/// Return a descriptor by which a daemon learns of the end of this process: see `die_with`. The caller closes it.
#[pyfunction]
pub fn lifeline(py: Python<'_>) -> PyResult<i32> {
    Ok(bindings::lifeline().or_raise(py)?.into_raw_fd())
}

/// End this process when its parent has ended, in a daemon. The descriptor belongs to the engine from here on.
#[pyfunction]
#[allow(unsafe_code)]
pub fn die_with(py: Python<'_>, lifeline: i32) -> PyResult<()> {
    if lifeline < 0 {
        return Err(PyRuntimeError::new_err(format!(
            "a lifeline must be a descriptor, not {lifeline}"
        )));
    }
    // SAFETY: the caller gives the descriptor away, and it is not -1.
    bindings::die_with(unsafe { OwnedFd::from_raw_fd(lifeline) }).or_raise(py)
}

/// Say that this process is about to end in an orderly way that the C library does not know of.
#[pyfunction]
pub fn take_leave() {
    bindings::take_leave();
}

/// Make the program's shared memory, so that children forked from now on share it.
#[pyfunction]
pub fn ensure_heap(py: Python<'_>) -> PyResult<()> {
    py.detach(bindings::ensure_heap).or_raise(py)
}

/// Return how many bytes of shared memory the program occupies, in all its processes together.
#[pyfunction]
pub fn resident_bytes(py: Python<'_>) -> PyResult<u64> {
    wait::briefly(py, procession::resident_bytes).or_raise(py)
}
