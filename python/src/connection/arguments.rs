//! What the methods of a connection take.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// A view of contiguous memory.
pub fn view(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let view = PyUntypedBuffer::get(object)?;
    if view.is_c_contiguous() {
        Ok(view)
    } else if view.item_size() > 1 {
        Err(PyTypeError::new_err("a message's memory must be C-contiguous"))
    } else {
        Err(PyBufferError::new_err("a message's memory must be C-contiguous"))
    }
}

/// When so many seconds will have passed; `None` for more than anybody lives.
pub fn end_of(timeout: Option<f64>) -> Option<Instant> {
    let span = Duration::try_from_secs_f64(timeout?.max(0.0)).ok()?;
    Instant::now().checked_add(span)
}
