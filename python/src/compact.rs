//! The compact form of what programs send most: None, bool, int, float, str, bytes, and small tuples of them.
//!
//! A value is a tag and its content; only the exact types, so that what arrives is what pickle would have made. A tuple is
//! a tag, a count, and for each item its length (four bytes) and the item.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString, PyTuple};

/// The first byte of a message.
pub mod tag {
    pub const NONE: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const INT: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const STR: u8 = 5;
    pub const BYTES: u8 = 6;
    pub const TUPLE: u8 = 7;
    /// A pickle follows.
    pub const PICKLE: u8 = 8;
    /// A table, a pickle, and buffers that belong to it; see `message`.
    pub const BUFFERS: u8 = 9;
}

/// Items of the largest tuple that has a compact form.
const MOST_ITEMS: usize = 16;
/// Bytes of the longest string within a tuple; longer ones are pickle's, which writes equal ones once.
const MOST_TEXT: usize = 256;

/// Appends the compact form of `object`; false, and nothing appended, if it has none.
#[inline]
pub fn encode(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
    if object.is_exact_instance_of::<PyInt>() {
        return encode_int(object, out);
    }
    if object.is_none() {
        out.push(tag::NONE);
        return true;
    }
    if let Ok(text) = object.cast_exact::<PyString>() {
        // Lone surrogates have no such form.
        let Ok(text) = text.to_str() else { return false };
        out.push(tag::STR);
        out.extend_from_slice(text.as_bytes());
        return true;
    }
    if let Ok(number) = object.cast_exact::<PyFloat>() {
        out.push(tag::FLOAT);
        out.extend_from_slice(&number.value().to_ne_bytes());
        return true;
    }
    if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        out.push(tag::BYTES);
        out.extend_from_slice(bytes.as_bytes());
        return true;
    }
    if let Ok(truth) = object.cast_exact::<PyBool>() {
        out.push(if truth.is_true() { tag::TRUE } else { tag::FALSE });
        return true;
    }
    match object.cast_exact::<PyTuple>() {
        Ok(tuple) => encode_tuple(tuple, out),
        Err(_) => false,
    }
}

#[allow(unsafe_code)]
#[inline]
fn encode_int(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
    let mut overflow = 0;
    // SAFETY: an int, and the interpreter is attached; on overflow nothing is raised, and there is no other error.
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(object.as_ptr(), &raw mut overflow) };
    if overflow != 0 {
        return false;
    }
    out.push(tag::INT);
    out.extend_from_slice(&number.to_ne_bytes());
    true
}

fn encode_tuple(tuple: &Bound<'_, PyTuple>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    if tuple.len() > MOST_ITEMS {
        return false;
    }
    out.push(tag::TUPLE);
    out.push(tuple.len() as u8);
    for item in tuple.iter() {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        if item.is_exact_instance_of::<PyTuple>() || !encode(&item, out) || out.len() - at > MOST_TEXT {
            out.truncate(start);
            return false;
        }
        let len = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&len.to_ne_bytes());
    }
    true
}

/// The object behind a compact form; `None` if these bytes are none.
#[inline]
pub fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> Option<Bound<'py, PyAny>> {
    let (&tag, content) = bytes.split_first()?;
    Some(match tag {
        tag::INT => i64::from_ne_bytes(content.try_into().ok()?)
            .into_pyobject(py)
            .ok()?
            .into_any(),
        tag::NONE => py.None().into_bound(py),
        tag::FALSE => PyBool::new(py, false).to_owned().into_any(),
        tag::TRUE => PyBool::new(py, true).to_owned().into_any(),
        tag::FLOAT => PyFloat::new(py, f64::from_ne_bytes(content.try_into().ok()?)).into_any(),
        tag::STR => PyString::new(py, std::str::from_utf8(content).ok()?).into_any(),
        tag::BYTES => PyBytes::new(py, content).into_any(),
        tag::TUPLE => decode_tuple(py, content)?,
        _ => return None,
    })
}

fn decode_tuple<'py>(py: Python<'py>, content: &[u8]) -> Option<Bound<'py, PyAny>> {
    let (&count, mut rest) = content.split_first()?;
    let mut items = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let (item, behind) = behind.split_at_checked(u32::from_ne_bytes(*len) as usize)?;
        items.push(decode(py, item)?);
        rest = behind;
    }
    Some(PyTuple::new(py, items).ok()?.into_any())
}
