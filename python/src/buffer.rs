//! Buffers that lie in shared memory.

use crate::parcel::Parcel;
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

/// Memory of others that is read while the interpreter may be let go.
///
/// Other threads may write to it meanwhile, and then what arrives is some of the old and some of the new, as with pickle's own
/// copying. So there is no reference to it, which would promise that nobody does.
#[derive(Clone, Copy)]
pub struct Lent {
    start: usize,
    len: usize,
}

impl Lent {
    /// What a contiguous view shows (`PickleBuffer.raw()` makes no others).
    ///
    /// # Safety
    ///
    /// As for [`of`](Self::of): the view lives as long as this is used.
    #[allow(unsafe_code)]
    pub unsafe fn of_view(view: &PyBuffer<u8>) -> Self {
        let start = view.buf_ptr().cast::<u8>().cast_const();
        // SAFETY: the exporter keeps so many bytes where they are as long as the view exists; the rest is the caller's promise.
        unsafe { Self::of(std::ptr::slice_from_raw_parts(start, view.len_bytes())) }
    }

    /// The memory at `bytes`.
    ///
    /// # Safety
    ///
    /// It may be read, and stays where it is, as long as this is used.
    #[allow(unsafe_code)]
    pub unsafe fn of(bytes: *const [u8]) -> Self {
        Self {
            start: bytes.cast::<u8>().expose_provenance(),
            len: bytes.len(),
        }
    }

    /// How many bytes it has.
    pub fn len(self) -> usize {
        self.len
    }

    /// Copies it to `to`, of the same length.
    #[allow(unsafe_code)]
    pub fn copy_to(self, to: &mut [u8]) {
        assert_eq!(self.len, to.len(), "room for all of it");
        // SAFETY: `to` has so many bytes, and is borrowed mutably, so this does not lie in it.
        unsafe { self.copy(to.as_mut_ptr()) };
    }

    /// Copies it to the end of `to`.
    #[allow(unsafe_code)]
    #[inline]
    pub fn append_to(self, to: &mut Vec<u8>) {
        to.reserve(self.len);
        // SAFETY: there was made room for so many bytes, which are written before they count.
        unsafe {
            self.copy(to.as_mut_ptr().add(to.len()));
            to.set_len(to.len() + self.len);
        }
    }

    /// Copies it to `to`.
    ///
    /// # Safety
    ///
    /// There is room for so many bytes, in which nothing of this lies.
    #[allow(unsafe_code)]
    #[inline]
    unsafe fn copy(self, to: *mut u8) {
        let from = std::ptr::with_exposed_provenance::<u8>(self.start);
        // SAFETY: it may be read (the promise of who made this); the rest is the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from, to, self.len) };
    }
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
