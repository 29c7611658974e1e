//! Shared memory for ctypes objects.

use crate::errors::OrRaise;
use crate::handles::{self, HandleRef};
use crate::numbers::{Code, ElementRef};
use crate::wait::{self, MUCH};
use procession::bindings::{Handle, HandleKind, Region as RawRegion};
use pyo3::exceptions::{PyBufferError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

/// Zeroed memory of the program's heap. It is freed when no process of the program refers to it any more.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Region {
    inner: OnceLock<RawRegion>,
}

impl Region {
    /// Returns the engine's region, `None` before it is made.
    #[inline]
    pub fn get(&self) -> Option<&RawRegion> {
        self.inner.get()
    }

    /// Returns the engine's region. Raises if it is not made yet.
    fn inner(&self) -> PyResult<&RawRegion> {
        self.inner
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("this region has no memory yet: _make() was not called"))
    }

    /// Sets the engine's region. Raises if there is one already.
    fn set(&self, made: RawRegion) -> PyResult<()> {
        self.inner
            .set(made)
            .map_err(|_| PyRuntimeError::new_err("this region has memory already: _make() was called twice"))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match self.inner.take() {
            Some(inner) if inner.len() < MUCH => wait::let_go(inner),
            Some(inner) => wait::let_go_of_much(inner),
            None => {}
        }
    }
}

#[pymethods]
impl Region {
    #[new]
    fn new() -> Self {
        Self {
            inner: OnceLock::new(),
        }
    }

    /// Make the memory, `len` bytes.
    fn _make(&self, py: Python<'_>, len: usize) -> PyResult<()> {
        let made = if len < MUCH {
            wait::briefly(py, || RawRegion::new(len))
        } else {
            py.detach(|| RawRegion::new(len))
        };
        self.set(made.or_raise(py)?)
    }

    /// Return what represents this region in a pickle.
    fn _handle_ref(&self) -> PyResult<HandleRef> {
        Ok(handles::reference_to(Handle::from(self.inner()?)))
    }

    /// Make this the region that a handle reference stands for.
    fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef) -> PyResult<()> {
        let found = handles::resolve(py, &handle_ref, HandleKind::Region)?;
        let memory = RawRegion::try_from(found);
        self.set(memory.map_err(|error| PyRuntimeError::new_err(error.to_string()))?)
    }

    /// Return the memory's address in this process.
    fn _address(&self) -> PyResult<usize> {
        Ok(self.inner()?.address().addr())
    }

    /// Store `value` at the beginning of the memory as a number of ctypes' type `code`. Return false if it is no such
    /// number.
    fn _store(&self, code: char, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let place = Code::of(code).and_then(|code| ElementRef::of(self.get()?, code, 0));
        let Some(place) = place else { return Ok(false) };
        let bits = place.code.bits_of(value)?;
        if let Some(bits) = bits {
            place.set_bits(bits);
        }
        Ok(bits.is_some())
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.inner()?.len())
    }

    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let inner = slf.get().inner()?;
        // SAFETY: the caller lets this function fill `view`. The memory is in the heap's mapping and is valid as long
        // as the handle. This object keeps the handle until it is freed, and the view keeps this object by its
        // reference to it. Rust code never makes a reference to the memory.
        let answer = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                inner.address().cast::<c_void>(),
                inner.len() as isize,
                0,
                flags,
            )
        };
        if answer == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
