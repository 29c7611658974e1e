//! Objects as messages.
//!
//! A small message is a compact form, or [`tag::PICKLE`] and a pickle. A large one is a parcel with the same contents, or
//! with buffers out of band, which are copied once, from where they are to shared memory:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 | [`tag::BUFFERS`] |
//! | 8 to 15, 16 to 23 | length of the pickle, number of buffers |
//! | 24 on | place and length of each buffer |
//! | then | the pickle, and the buffers, each at a multiple of [`ALIGN`] |

use crate::buffer::{self, SharedBuffer};
use crate::carry::{self, Collection};
use crate::compact::{self, tag};
use crate::errors::OrRaise;
use crate::pickling::{self, Form, Pickled};
use procession::door::{ALIGN, Channel, Handle, Parcel, Received};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// Bytes before the table of buffers.
const TABLE: usize = 24;

/// A message ready to be put.
pub enum Encoded {
    /// It was appended to the buffer.
    Small,
    Parcel(Parcel),
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A scratch buffer larger than this is not kept.
const KEEP: usize = 1 << 20;

/// Lends this thread's buffer, empty; a nested call gets a new one.
#[inline]
pub fn with_scratch<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let answer = use_it(&mut buffer);
    if buffer.capacity() <= KEEP {
        SCRATCH.set(buffer);
    }
    answer
}

/// Appends the message of `object` to `out`, or makes a parcel of it.
#[inline]
pub fn encode(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<Encoded> {
    let py = object.py();
    if let Some((tag, content)) = large_text(object) {
        let mut parcel = Parcel::new(1 + content.len(), &[]).or_raise(py)?;
        parcel[0] = tag;
        buffer::copy(py, content, &mut parcel[1..]);
        return Ok(Encoded::Parcel(parcel));
    }
    if compact::encode(object, out) {
        return Ok(Encoded::Small);
    }
    let collection = Collection::begin();
    pickling::dumps(object, Form::Parted, |pickled| {
        let handles = collection.finish();
        let small = Channel::is_small(1 + pickled.stream.len());
        if small && handles.is_empty() && pickled.buffers.is_empty() {
            out.push(tag::PICKLE);
            out.extend_from_slice(&pickled.stream);
            return Ok(Encoded::Small);
        }
        parcel_of(py, pickled, &handles).map(Encoded::Parcel)
    })
}

/// The message of `object` as a parcel, whatever its size.
pub fn encode_parcel(object: &Bound<'_, PyAny>) -> PyResult<Parcel> {
    let collection = Collection::begin();
    pickling::dumps(object, Form::Parted, |pickled| {
        let handles = collection.finish();
        parcel_of(object.py(), pickled, &handles)
    })
}

/// Contents of strings and bytes too long for a small message.
#[inline]
fn large_text<'a>(object: &'a Bound<'_, PyAny>) -> Option<(u8, &'a [u8])> {
    let (tag, content) = if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        (tag::BYTES, bytes.as_bytes())
    } else if let Ok(text) = object.cast_exact::<PyString>() {
        (tag::STR, text.to_str().ok()?.as_bytes())
    } else {
        return None;
    };
    (!Channel::is_small(1 + content.len())).then_some((tag, content))
}

fn parcel_of(py: Python<'_>, pickled: &Pickled, handles: &[Handle]) -> PyResult<Parcel> {
    let (stream, buffers) = (&pickled.stream, &pickled.buffers);
    if buffers.is_empty() {
        let mut parcel = Parcel::new(1 + stream.len(), handles).or_raise(py)?;
        parcel[0] = tag::PICKLE;
        buffer::copy(py, stream, &mut parcel[1..]);
        return Ok(parcel);
    }
    let pickle_at = TABLE + 16 * buffers.len();
    let mut end = pickle_at + stream.len();
    let mut places: Vec<Range<usize>> = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        let start = end.next_multiple_of(ALIGN);
        end = start + buffer.len_bytes();
        places.push(start..end);
    }
    let mut parcel = Parcel::new(end, handles).or_raise(py)?;
    parcel[0] = tag::BUFFERS;
    put_number(&mut parcel, 8, stream.len());
    put_number(&mut parcel, 16, buffers.len());
    for (i, place) in places.iter().enumerate() {
        put_number(&mut parcel, TABLE + 16 * i, place.start);
        put_number(&mut parcel, TABLE + 16 * i + 8, place.len());
    }
    parcel[pickle_at..pickle_at + stream.len()].copy_from_slice(stream);
    for (buffer, place) in buffers.iter().zip(places) {
        buffer::copy_view(py, buffer, &mut parcel[place]);
    }
    Ok(parcel)
}

fn put_number(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + 8].copy_from_slice(&(number as u64).to_ne_bytes());
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    usize::try_from(u64::from_ne_bytes(bytes.try_into().ok()?)).ok()
}

/// The object of a message that was taken, whose bytes are `inline` where it was a small one.
#[inline]
pub fn decode<'py>(
    py: Python<'py>,
    received: Received,
    inline: &[u8],
    zero_copy: bool,
) -> PyResult<Bound<'py, PyAny>> {
    match received {
        Received::Inline(_) => decode_bytes(py, inline),
        Received::Parcel(parcel) => decode_parcel(py, parcel, zero_copy),
    }
}

/// The object of a small message.
#[inline]
pub fn decode_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match bytes.split_first() {
        Some((&tag::PICKLE, pickle)) => pickling::loads(&PyBytes::new(py, pickle)),
        _ => compact::decode(py, bytes).ok_or_else(malformed),
    }
}

/// The object of a parcel.
pub fn decode_parcel(py: Python<'_>, parcel: Parcel, zero_copy: bool) -> PyResult<Bound<'_, PyAny>> {
    let parcel = Arc::new(parcel);
    let (&first, content) = parcel.split_first().ok_or_else(malformed)?;
    match first {
        tag::BYTES => buffer::copied(py, content, false),
        tag::PICKLE => carry::lending(&parcel, || pickling::loads(&view(py, content)?)),
        tag::BUFFERS => carry::lending(&parcel, || decode_buffers(py, &parcel, zero_copy)),
        _ => compact::decode(py, &parcel).ok_or_else(malformed),
    }
}

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

/// A view of bytes that live longer than it: what it is given to must not keep it.
#[allow(unsafe_code)]
pub fn view<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (start, len) = (bytes.as_ptr().cast_mut().cast(), bytes.len() as isize);
    // SAFETY: read-only memory of this length; `pickle.loads`, which gets the view, lets go of it before it returns.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyMemoryView_FromMemory(start, len, ffi::PyBUF_READ)) }
}

fn malformed() -> PyErr {
    PyRuntimeError::new_err("a message that this version of procession did not write")
}
