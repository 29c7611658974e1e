//! Children that the standard library starts: what their parent leaves for them, and how they join the program.

use crate::errors::OrRaise;
use crate::message;
use crate::wait;
use procession::bindings::{self, JoinToken};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// Makes an entry for a child that is about to be started: descriptor, program, number and the descriptor of a lock (-1 for none),
/// for `attach`.
#[pyfunction]
pub fn new_join_token(py: Python<'_>, name: &str) -> PyResult<(i32, u64, u32, i32)> {
    let JoinToken { fd, heap, id, claim } = py.detach(|| JoinToken::new(name)).or_raise(py)?;
    Ok((fd, heap, id, claim))
}

/// The child with this invitation was started, or will not be: its lock is its own.
#[pyfunction]
pub fn started(fd: i32, heap: u64, id: u32, claim: i32) {
    JoinToken { fd, heap, id, claim }.started();
}

/// Leaves `object`, with the queues and locks in it, for the child.
#[pyfunction]
pub fn leave(object: &Bound<'_, PyAny>, fd: i32, heap: u64, id: u32, claim: i32) -> PyResult<()> {
    let parcel = message::encode_parcel(object)?.into_inner();
    let token = JoinToken { fd, heap, id, claim };
    let py = object.py();
    py.detach(|| token.leave(parcel)).or_raise(py)
}

/// In the child: joins the program. The descriptors are the engine's from here on.
#[pyfunction]
pub fn attach(py: Python<'_>, fd: i32, heap: u64, id: u32, claim: i32) -> PyResult<()> {
    py.detach(|| bindings::attach(JoinToken { fd, heap, id, claim }))
        .or_raise(py)
}

/// In the child: what its parent left.
#[pyfunction]
pub fn start_object(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match py.detach(bindings::take_start).or_raise(py)? {
        Some(parcel) => message::decode_parcel(py, parcel.into(), false),
        None => Err(PyRuntimeError::new_err(
            "nobody left a process object for this process",
        )),
    }
}

/// The child with this entry (0: none was made) or pid (0: it was never started) is dead and reaped.
#[pyfunction]
pub fn ended(py: Python<'_>, id: u32, pid: u32) {
    // It can only fail for want of memory; then somebody clears up later.
    let _ = py.detach(|| bindings::ended(id, pid));
}

/// Whether a child lives that has this entry (0: not known) and pid.
#[pyfunction]
pub fn is_alive(id: u32, pid: u32) -> bool {
    bindings::is_alive(id, pid)
}

/// The entry of the child that this thread has forked last; 0 if it has none.
#[pyfunction]
pub fn last_child() -> u32 {
    bindings::last_child()
}

/// A descriptor for a daemon, for `die_with`; the caller's to close.
#[pyfunction]
pub fn lifeline(py: Python<'_>) -> PyResult<i32> {
    Ok(bindings::lifeline().or_raise(py)?.into_raw_fd())
}

/// In a daemon: ends this process when its parent has ended. The descriptor is the engine's from here on.
#[pyfunction]
#[allow(unsafe_code)]
pub fn die_with(py: Python<'_>, lifeline: i32) -> PyResult<()> {
    if lifeline < 0 {
        return Err(PyRuntimeError::new_err("not a descriptor"));
    }
    // SAFETY: the caller gives it away; it is not -1.
    bindings::die_with(unsafe { OwnedFd::from_raw_fd(lifeline) }).or_raise(py)
}

/// This process is about to end in an orderly way that the C library does not know of.
#[pyfunction]
pub fn take_leave() {
    bindings::take_leave();
}

/// Makes the program's shared memory, so that children forked from now on share it.
#[pyfunction]
pub fn ensure_heap(py: Python<'_>) -> PyResult<()> {
    py.detach(bindings::ensure_heap).or_raise(py)
}

/// Bytes of shared memory that the program occupies, in all its processes together.
#[pyfunction]
pub fn resident_bytes(py: Python<'_>) -> PyResult<u64> {
    wait::briefly(py, procession::resident_bytes).or_raise(py)
}
