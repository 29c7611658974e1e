//! Buffers that lie in shared memory.

use procession::door::Parcel;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::Arc;

/// A part of a message, where it is: no copy. The memory is this process's alone as long as this object, or anything made
/// of it, lives; then it goes back to the program.
#[pyclass(frozen, module = "procession._engine")]
pub struct SharedBuffer {
    parcel: Arc<Parcel>,
    range: Range<usize>,
}

impl SharedBuffer {
    /// `range` of `parcel`; nobody else may use that part.
    pub fn new(parcel: Arc<Parcel>, range: Range<usize>) -> Self {
        debug_assert!(range.end <= parcel.len());
        Self { parcel, range }
    }
}

#[pymethods]
impl SharedBuffer {
    fn __len__(&self) -> usize {
        self.range.len()
    }

    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let this = slf.get();
        // SAFETY: the range lies within the parcel.
        let start = unsafe { this.parcel.address().add(this.range.start) };
        // SAFETY: `view` is the caller's to fill. The memory is in the heap's mapping, valid as long as the parcel, which
        // this object keeps, and which the view keeps by its reference to this object; no Rust reference to the range is
        // used while views exist, so writing through them is sound.
        let answer = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                start.cast::<c_void>(),
                this.range.len() as isize,
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

/// A new `bytearray` or `bytes` of `from`, copied with the interpreter let go where that takes a while.
pub fn copied<'py>(py: Python<'py>, from: &[u8], mutable: bool) -> PyResult<Bound<'py, PyAny>> {
    filled(py, from.len(), mutable, |to| {
        copy(py, from, to);
        Ok(())
    })
}

/// A new `bytearray` or `bytes` of `len` bytes, which `fill` has to write.
#[allow(unsafe_code)]
pub fn filled(
    py: Python<'_>,
    len: usize,
    mutable: bool,
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'_, PyAny>> {
    let size = isize::try_from(len).map_err(|_| PyMemoryError::new_err("too many bytes"))?;
    // SAFETY: both make an object of `len` bytes with arbitrary contents, or raise.
    let object = unsafe {
        let made = if mutable {
            ffi::PyByteArray_FromStringAndSize(std::ptr::null(), size)
        } else {
            ffi::PyBytes_FromStringAndSize(std::ptr::null(), size)
        };
        Bound::from_owned_ptr_or_err(py, made)?
    };
    // SAFETY: the object was just made with so many bytes, and nobody else has it yet.
    let to = unsafe {
        let start = if mutable {
            ffi::PyByteArray_AsString(object.as_ptr())
        } else {
            ffi::PyBytes_AsString(object.as_ptr())
        };
        std::slice::from_raw_parts_mut(start.cast::<u8>(), len)
    };
    fill(to)?;
    Ok(object)
}

/// Bytes from which on copying lets go of the interpreter.
pub const MUCH: usize = 64 << 10;

/// Copies, with the interpreter let go where that takes a while.
pub fn copy(py: Python<'_>, from: &[u8], to: &mut [u8]) {
    if from.len() < MUCH {
        to.copy_from_slice(from);
    } else {
        py.detach(|| to.copy_from_slice(from));
    }
}

/// Copies what a contiguous view shows (`PickleBuffer.raw()` makes no others) to memory that it does not lie in.
#[allow(unsafe_code)]
pub fn copy_view(py: Python<'_>, from: &PyBuffer<u8>, to: &mut [u8]) {
    let start = from.buf_ptr().cast::<u8>().cast_const();
    let bytes = std::ptr::slice_from_raw_parts(start, from.len_bytes());
    // SAFETY: the exporter keeps so many bytes where they are as long as the view exists, which the caller does not drop
    // meanwhile.
    unsafe { copy_lent(py, bytes, to.as_mut_ptr(), to.len()) };
}

/// Copies `from` to `len` bytes at `to`, with the interpreter let go where that takes a while.
///
/// Other threads may write to either meanwhile, and then what arrives is some of the old and some of the new, as with
/// pickle's own copying. So there is no reference to it here, which would promise that nobody does.
///
/// # Safety
///
/// `from` may be read and `to` be written, both stay where they are until this returns, and they do not overlap.
#[allow(unsafe_code)]
pub unsafe fn copy_lent(py: Python<'_>, from: *const [u8], to: *mut u8, len: usize) {
    assert_eq!(from.len(), len, "room for all of it");
    let (from, to) = (from.cast::<u8>().expose_provenance(), to.expose_provenance());
    // SAFETY: by the contract of this function.
    let copy = move || unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::with_exposed_provenance::<u8>(from),
            std::ptr::with_exposed_provenance_mut::<u8>(to),
            len,
        );
    };
    if len < MUCH { copy() } else { py.detach(copy) }
}
