//! Buffers in shared memory, and copying that releases the interpreter.

use crate::parcel::Parcel;
use crate::wait::MUCH;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::Arc;

/// A part of a message, without a copy.
///
/// The memory belongs to this process alone until this object, and every view of it, is gone. Then it is freed.
#[pyclass(frozen, module = "procession._engine")]
pub struct SharedBuffer {
    parcel: Arc<Parcel>,
    range: Range<usize>,
}

impl SharedBuffer {
    /// Makes a buffer of `range` of `parcel`. Nothing else may use that range.
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
        // SAFETY: the caller lets this function fill `view`. The memory is in the heap's mapping and is valid as long
        // as the parcel. This object keeps the parcel, and the view keeps this object by its reference to it. No Rust
        // reference to the range is used while views exist, so writing through them is sound.
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

/// Returns a new `bytearray` or `bytes` with the bytes of `from`. Releases the interpreter if copying takes long.
pub fn copied<'py>(py: Python<'py>, from: &[u8], mutable: bool) -> PyResult<Bound<'py, PyAny>> {
    filled(py, from.len(), mutable, |to| {
        copy(py, from, to);
        Ok(())
    })
}

/// Returns a new `bytearray` or `bytes` of `len` bytes, all of which `fill` must write.
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
    // SAFETY: the object was just made with `len` bytes, and nothing else refers to it yet.
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

/// Copies `from` to `to`. Releases the interpreter if that takes long.
pub fn copy(py: Python<'_>, from: &[u8], to: &mut [u8]) {
    if from.len() < MUCH {
        to.copy_from_slice(from);
    } else {
        py.detach(|| to.copy_from_slice(from));
    }
}

/// Memory of a Python object, which is read while the interpreter may be released.
///
/// Other threads may write to the memory meanwhile. Then the copy has some old and some new bytes, as a copy made by
/// pickle has. A Rust reference would promise that no thread writes, so this holds an address instead.
#[derive(Clone, Copy)]
pub struct Lent {
    start: usize,
    len: usize,
}

impl Lent {
    /// Takes the memory of a contiguous view (`PickleBuffer.raw()` makes no others).
    ///
    /// # Safety
    ///
    /// As for [`of`](Self::of): the view exists as long as this value is used.
    #[allow(unsafe_code)]
    pub unsafe fn of_view(view: &PyBuffer<u8>) -> Self {
        let start = view.buf_ptr().cast::<u8>().cast_const();
        // SAFETY: the exporter keeps these bytes in place as long as the view exists. The rest is the caller's promise.
        unsafe { Self::of(std::ptr::slice_from_raw_parts(start, view.len_bytes())) }
    }

    /// Takes the memory at `bytes`.
    ///
    /// # Safety
    ///
    /// The memory may be read, and stays in place, as long as this value is used.
    #[allow(unsafe_code)]
    pub unsafe fn of(bytes: *const [u8]) -> Self {
        Self {
            start: bytes.cast::<u8>().expose_provenance(),
            len: bytes.len(),
        }
    }

    /// Returns the number of bytes.
    pub fn len(self) -> usize {
        self.len
    }

    /// Copies the bytes to `to`, which has the same length.
    #[allow(unsafe_code)]
    pub fn copy_to(self, to: &mut [u8]) {
        assert_eq!(self.len, to.len(), "room for all of it");
        // SAFETY: `to` has `self.len` bytes. It is borrowed mutably, so the memory of `self` does not overlap it.
        unsafe { self.copy(to.as_mut_ptr()) };
    }

    /// Appends the bytes to `to`.
    #[allow(unsafe_code)]
    #[inline]
    pub fn append_to(self, to: &mut Vec<u8>) {
        to.reserve(self.len);
        // SAFETY: `reserve` has made room for these bytes, and they are written before `to` grows.
        unsafe {
            self.copy(to.as_mut_ptr().add(to.len()));
            to.set_len(to.len() + self.len);
        }
    }

    /// Copies the bytes to `to`.
    ///
    /// # Safety
    ///
    /// `to` has room for `self.len` bytes, and the memory of `self` does not overlap it.
    #[allow(unsafe_code)]
    #[inline]
    unsafe fn copy(self, to: *mut u8) {
        let from = std::ptr::with_exposed_provenance::<u8>(self.start);
        // SAFETY: the memory may be read, by the contract of `of`. The rest is the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from, to, self.len) };
    }
}

/// Copies `from` to `len` bytes at `to`. Releases the interpreter if that takes long.
///
/// Other threads may write to either memory meanwhile; see [`Lent`].
///
/// # Safety
///
/// `from` may be read and `to` may be written, both stay in place until this returns, and they do not overlap.
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
