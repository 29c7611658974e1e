//! Arguments of a connection's methods.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use std::time::{Duration, Instant};

/// Returns a view of an object's memory, which must be contiguous.
pub fn view(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let view = PyUntypedBuffer::get(object)?;
    if view.is_c_contiguous() {
        Ok(view)
    } else if view.item_size() > 1 {
        Err(PyTypeError::new_err(
            "the memory of a message must be C-contiguous",
        ))
    } else {
        Err(PyBufferError::new_err(
            "the memory of a message must be C-contiguous",
        ))
    }
}

/// Returns the time in `timeout` seconds, `None` for never and for a time too far away.
pub fn end_of(timeout: Option<f64>) -> Option<Instant> {
    let span = Duration::try_from_secs_f64(timeout?.max(0.0)).ok()?;
    Instant::now().checked_add(span)
}
