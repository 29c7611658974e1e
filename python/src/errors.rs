//! The engine's errors as Python's exceptions.

use procession::Error;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::io;

/// Imports `module.name`, and keeps it in `cell`.
pub fn imported<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyType>>,
    module: &str,
    name: &str,
) -> PyResult<&'py Bound<'py, PyType>> {
    cell.import(py, module, name)
}

/// Makes a `queue.Empty`.
pub fn empty(py: Python<'_>) -> PyErr {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    raised(py, &CELL, "queue", "Empty")
}

/// Makes a `queue.Full`.
pub fn full(py: Python<'_>) -> PyErr {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    raised(py, &CELL, "queue", "Full")
}

/// Makes a `queue.ShutDown`, or this package's `ShutDown` where `queue` has none.
pub fn shut_down(py: Python<'_>) -> PyErr {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    raised(py, &CELL, "procession.queues", "ShutDown")
}

fn raised(py: Python<'_>, cell: &'static PyOnceLock<Py<PyType>>, module: &str, name: &str) -> PyErr {
    match imported(py, cell, module, name) {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(error) => error,
    }
}

/// Makes the `OSError` of an error of the system.
pub fn from_os(py: Python<'_>, error: &io::Error) -> PyErr {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let text = py
        .import("os")
        .and_then(|os| os.call_method1("strerror", (errno,)));
    match text {
        Ok(text) => PyOSError::new_err((errno, text.unbind())),
        Err(error) => error,
    }
}

/// Makes the exception of an error of the engine.
pub fn from_engine(py: Python<'_>, error: Error) -> PyErr {
    static CONSUMER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match error {
        Error::Interrupted => crate::wait::pending(),
        // A process is stopped in the middle of a change, and the time was up.
        Error::OwnerStopped { .. } => PyTimeoutError::new_err(error.to_string()),
        Error::ShutDown | Error::Disconnected => shut_down(py),
        Error::Full => full(py),
        Error::Empty => empty(py),
        Error::ConsumerDied { .. } => match imported(py, &CONSUMER, "procession.queues", "ConsumerDied") {
            Ok(class) => PyErr::from_type(class.clone(), error.to_string()),
            Err(error) => error,
        },
        Error::TooManyTasksDone => PyValueError::new_err("task_done() called too many times"),
        Error::OutOfMemory { .. } | Error::TooLarge { .. } => PyMemoryError::new_err(error.to_string()),
        Error::Capacity { .. } => PyValueError::new_err(error.to_string()),
        Error::Os { errno, .. } => PyOSError::new_err((errno, error.to_string())),
        Error::FileSizeLimit { .. } => PyOSError::new_err((libc::EFBIG, error.to_string())),
        Error::DescriptorLost { .. } => PyOSError::new_err((libc::EBADF, error.to_string())),
        other => PyRuntimeError::new_err(other.to_string()),
    }
}

/// Answers of the engine as Python has them.
pub trait OrRaise<T> {
    /// Returns the value, or the error as an exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for procession::Result<T> {
    #[inline]
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| from_engine(py, error))
    }
}
