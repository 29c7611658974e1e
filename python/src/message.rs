//! How objects become messages, and messages objects.
//!
//! A small message is a [compact form](crate::compact), or [`tag::PICKLE`] and a pickle. A large one is a parcel with
//! the same contents, or with buffers out of band. Such buffers are copied once, straight to shared memory:
//!
//! | bytes of the parcel | contents |
//! | --- | --- |
//! | 0 | [`tag::BUFFERS`] |
//! | 8 to 15 | length of the pickle |
//! | 16 to 23 | number of buffers |
//! | 24 on | place and length of each buffer, eight bytes each |
//! | after that | the pickle, and the buffers, each at a multiple of [`ALIGN`] |

use crate::buffer::{self, Lent, SharedBuffer};
use crate::compact::{self, tag};
use crate::handles::{self, Collection};
use crate::parcel::Parcel;
use crate::pickling::{self, Form, Pickled};
use crate::wait::{self, MUCH};
use procession::bindings::{ALIGN, Deadline, Handle, RawQueue, Received};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::ops::Range;
use std::sync::Arc;

/// Bytes before the table of buffers.
const TABLE: usize = 24;

/// A message ready to be put.
pub enum Encoded {
    /// A small one, which was appended to the buffer.
    Small,
    /// A large one, or one with handles in it.
    Parcel(Parcel),
}

/// Appends the message of `object` to `out`, or makes a parcel of it; see [`Parcel::filled`] for the deadline.
///
/// The outer error is about the object (it cannot be pickled, say), the inner one about making the parcel.
#[inline]
pub fn encode(
    object: &Bound<'_, PyAny>,
    out: &mut Vec<u8>,
    deadline: Deadline,
) -> PyResult<PyResult<Encoded>> {
    let py = object.py();
    if let Some((tag, content)) = large_text(object) {
        return Ok(tagged(py, tag, content, &[], deadline).map(Encoded::Parcel));
    }
    if compact::encode(object, out) {
        return Ok(Ok(Encoded::Small));
    }
    let collection = Collection::begin();
    pickling::dumps(object, Form::Parted, |pickled| {
        let handles = Handles(collection.finish());
        let small = RawQueue::is_small(1 + pickled.stream.len());
        if small && handles.0.is_empty() && pickled.buffers.is_empty() {
            out.push(tag::PICKLE);
            out.extend_from_slice(&pickled.stream);
            return Ok(Ok(Encoded::Small));
        }
        Ok(parcel_of(py, pickled, &handles.0, deadline).map(Encoded::Parcel))
    })
}

/// Makes a parcel of the message of `object`, whatever its size.
pub fn encode_parcel(object: &Bound<'_, PyAny>) -> PyResult<Parcel> {
    let collection = Collection::begin();
    pickling::dumps(object, Form::Parted, |pickled| {
        let handles = Handles(collection.finish());
        parcel_of(object.py(), pickled, &handles.0, Deadline::Never)
    })
}

/// Returns the tag and the contents of a string or bytes too long for a small message, `None` for other objects.
#[inline]
fn large_text<'a>(object: &'a Bound<'_, PyAny>) -> Option<(u8, &'a [u8])> {
    let (tag, content) = if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        (tag::BYTES, bytes.as_bytes())
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        (tag::STR, text.to_str().ok()?.as_bytes())
    } else {
        return None;
    };
    (!RawQueue::is_small(1 + content.len())).then_some((tag, content))
}

/// The handles that a parcel carries. When they are dropped, they may be the last handles to their objects.
struct Handles(Vec<Handle>);

impl Drop for Handles {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            wait::let_go(std::mem::take(&mut self.0));
        }
    }
}

/// Makes a parcel of a tag and `content`.
fn tagged(
    py: Python<'_>,
    tag: u8,
    content: &[u8],
    handles: &[Handle],
    deadline: Deadline,
) -> PyResult<Parcel> {
    Parcel::filled(py, 1 + content.len(), handles, deadline, |parcel| {
        parcel[0] = tag;
        parcel[1..].copy_from_slice(content);
    })
}

/// Makes a parcel of a pickle and the buffers beside it.
#[allow(unsafe_code)]
fn parcel_of(py: Python<'_>, pickled: &Pickled, handles: &[Handle], deadline: Deadline) -> PyResult<Parcel> {
    let (stream, buffers) = (pickled.stream.as_slice(), &pickled.buffers);
    if buffers.is_empty() {
        return tagged(py, tag::PICKLE, stream, handles, deadline);
    }
    let pickle_at = TABLE + 16 * buffers.len();
    let mut end = pickle_at + stream.len();
    let mut places: Vec<Range<usize>> = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        let start = end.next_multiple_of(ALIGN);
        end = start + buffer.len_bytes();
        places.push(start..end);
    }
    // SAFETY: the views are borrowed until this function returns.
    let lent: Vec<Lent> = buffers
        .iter()
        .map(|view| unsafe { Lent::of_view(view) })
        .collect();
    Parcel::filled(py, end, handles, deadline, |parcel| {
        parcel[0] = tag::BUFFERS;
        put_number(parcel, 8, stream.len());
        put_number(parcel, 16, lent.len());
        parcel[pickle_at..pickle_at + stream.len()].copy_from_slice(stream);
        for (i, (lent, place)) in lent.into_iter().zip(places).enumerate() {
            put_number(parcel, TABLE + 16 * i, place.start);
            put_number(parcel, TABLE + 16 * i + 8, place.len());
            lent.copy_to(&mut parcel[place]);
        }
    })
}

/// Writes a number of the table of buffers.
fn put_number(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + 8].copy_from_slice(&(number as u64).to_ne_bytes());
}

/// Reads a number of the table of buffers.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    usize::try_from(u64::from_ne_bytes(bytes.try_into().ok()?)).ok()
}

/// Returns the object of a message. `inline` has the bytes of a small one.
#[inline]
pub fn decode<'py>(
    py: Python<'py>,
    received: Received,
    inline: &[u8],
    zero_copy: bool,
) -> PyResult<Bound<'py, PyAny>> {
    match received {
        Received::Inline(_) => decode_bytes(py, inline),
        Received::Parcel(parcel) => decode_parcel(py, parcel.into(), zero_copy),
    }
}

/// Returns the object of a small message.
#[inline]
pub fn decode_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match bytes.split_first() {
        Some((&tag::PICKLE, pickle)) => pickling::loads(&PyBytes::new(py, pickle)),
        _ => compact::decode(py, bytes).ok_or_else(malformed),
    }
}

/// Returns the object of a parcel.
pub fn decode_parcel(py: Python<'_>, parcel: Parcel, zero_copy: bool) -> PyResult<Bound<'_, PyAny>> {
    if parcel.first() == Some(&tag::BYTES) {
        return unpacked(py, parcel);
    }
    let parcel = Arc::new(parcel);
    let (&first, content) = parcel.split_first().ok_or_else(malformed)?;
    match first {
        tag::PICKLE => handles::lending(&parcel, || pickling::loads(&view(py, content)?)),
        tag::BUFFERS => handles::lending(&parcel, || decode_buffers(py, &parcel, zero_copy)),
        _ => compact::decode(py, &parcel).ok_or_else(malformed),
    }
}

/// Returns the `bytes` in a parcel. Copying them and freeing the parcel are done together, so the interpreter is
/// released once.
fn unpacked(py: Python<'_>, parcel: Parcel) -> PyResult<Bound<'_, PyAny>> {
    let len = parcel.len() - 1;
    if len < MUCH {
        return buffer::copied(py, &parcel[1..], false);
    }
    buffer::filled(py, len, false, |to| {
        py.detach(|| {
            let parcel = parcel.into_inner();
            to.copy_from_slice(&parcel[1..]);
        });
        Ok(())
    })
}

/// Returns the object of a parcel with buffers out of band.
fn decode_buffers<'py>(
    py: Python<'py>,
    parcel: &Arc<Parcel>,
    zero_copy: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (len, count) = (number(parcel, 8), number(parcel, 16));
    let (len, count) = len.zip(count).ok_or_else(malformed)?;
    let mut buffers = Vec::new();
    for i in 0..count {
        let (start, len) = number(parcel, TABLE + 16 * i)
            .zip(number(parcel, TABLE + 16 * i + 8))
            .ok_or_else(malformed)?;
        let range = start..start.checked_add(len).ok_or_else(malformed)?;
        let bytes = parcel.get(range.clone()).ok_or_else(malformed)?;
        buffers.push(if zero_copy {
            Bound::new(py, SharedBuffer::new(parcel.clone(), range))?.into_any()
        } else {
            buffer::copied(py, bytes, true)?
        });
    }
    let start = TABLE + 16 * count;
    let pickle = parcel.get(start..start + len).ok_or_else(malformed)?;
    pickling::loads_with(&view(py, pickle)?, buffers)
}

/// Makes a view of `bytes`. The view must not be used after they are gone.
#[allow(unsafe_code)]
pub fn view<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (start, len) = (bytes.as_ptr().cast_mut().cast(), bytes.len() as isize);
    // SAFETY: the memory has this length and the view is read-only. `pickle.loads`, which gets the view, drops it
    // before it returns.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromMemory(start, len, ffi::PyBUF_READ)) }
}

/// Makes the error of a message that cannot be decoded.
fn malformed() -> PyErr {
    PyRuntimeError::new_err(
        "a message cannot be decoded: all processes of a program must use the same version of procession",
    )
}
