//! Shared memory by name: the engine's functions, with the errors that the standard library's raise.

use procession::Error;
use procession::bindings::shm;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

/// Makes the exception that the standard library's `shm_open` raises: an `OSError` with the name.
fn raised(py: Python<'_>, error: &Error, name: &str) -> PyErr {
    let errno = match error {
        Error::MemoryExists { .. } => libc::EEXIST,
        Error::NoSuchMemory { .. } => libc::ENOENT,
        Error::BadName { name } if name.contains('\0') => {
            return PyValueError::new_err("embedded null character");
        }
        Error::BadName { .. } => libc::EINVAL,
        Error::OutOfMemory { .. } => libc::ENOSPC,
        Error::Os { errno, .. } => *errno,
        other => return crate::errors::from_engine(py, other.clone()),
    };
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    // Python chooses the class by the number.
    PyOSError::new_err((errno, text, name.to_owned()))
}

/// Returns the descriptor that `take` answers with.
fn taken(
    py: Python<'_>,
    name: &str,
    take: impl FnOnce() -> procession::Result<OwnedFd> + Send,
) -> PyResult<RawFd> {
    let file = py.detach(take).map_err(|error| raised(py, &error, name))?;
    Ok(file.into_raw_fd())
}

/// Make shared memory of `size` bytes, and return its descriptor. If it is `marked`, its name goes with its last user.
#[pyfunction]
pub fn memory_create(py: Python<'_>, name: &str, size: u64, marked: bool) -> PyResult<RawFd> {
    taken(py, name, || shm::create(name, size, marked))
}

/// Attach to the shared memory of this name as a user of it, and return its descriptor.
#[pyfunction]
pub fn memory_open(py: Python<'_>, name: &str) -> PyResult<RawFd> {
    taken(py, name, || shm::open(name))
}

/// Remove the name at once.
#[pyfunction]
pub fn memory_unlink(py: Python<'_>, name: &str) -> PyResult<()> {
    py.detach(|| shm::unlink(name))
        .map_err(|error| raised(py, &error, name))
}

/// Remove the names of shared memory without users, with `only_marked` those of marked memory only.
#[pyfunction]
pub fn memory_tidy(py: Python<'_>, names: Vec<String>, only_marked: bool) {
    py.detach(|| shm::tidy(names, only_marked));
}
