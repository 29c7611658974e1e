//! The compact form of the objects that programs send most: None, bool, int, float, str, bytes, and small tuples,
//! lists and dicts of them.
//!
//! | object | form |
//! | --- | --- |
//! | a scalar | a tag (one byte), the content |
//! | a tuple, list or dict | a tag, a count (one byte), the items; those of a dict are its keys and values in turn |
//! | an item of a container | its length (two bytes), its form |
//!
//! Only objects of exactly these types have a compact form, so that what arrives is what pickle would have made. A
//! list or dict that occurs twice is left to pickle, which makes it one object again.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

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
    pub const LIST: u8 = 8;
    pub const DICT: u8 = 9;
    /// A pickle follows.
    pub const PICKLE: u8 = 10;
    /// A table, a pickle, and buffers that belong to it; see `message`.
    pub const BUFFERS: u8 = 11;
}

/// The most items, in all containers together, of an object that has a compact form.
const MAX_ITEMS: usize = 64;
/// The most bytes of an item of a container. Longer strings are left to pickle, which writes equal ones once.
const MAX_ITEM: usize = 256;
/// The most lists and dicts in one object.
const MAX_CONTAINERS: usize = 8;

/// What the encoder has seen of an object so far.
#[derive(Default)]
struct Seen {
    items: usize,
    /// Addresses of the lists and dicts.
    containers: [usize; MAX_CONTAINERS],
    count: usize,
}

impl Seen {
    /// Returns whether a list or dict has not been seen before and is not one too many, and records it.
    fn is_new(&mut self, container: &Bound<'_, PyAny>) -> bool {
        let address = container.as_ptr() as usize;
        if self.count == MAX_CONTAINERS || self.containers[..self.count].contains(&address) {
            return false;
        }
        self.containers[self.count] = address;
        self.count += 1;
        true
    }
}

/// Appends the compact form of `object` to `out`. Returns false, with nothing appended, if it has none.
#[inline]
pub fn encode(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
    encode_scalar(object, out).unwrap_or_else(|| {
        let start = out.len();
        let encoded = encode_container(object, out, &mut Seen::default());
        if !encoded {
            out.truncate(start);
        }
        encoded
    })
}

/// Does the same for a scalar. Returns `None` for another type.
#[inline]
fn encode_scalar(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Option<bool> {
    if object.is_exact_instance_of::<PyInt>() {
        return Some(encode_int(object, out));
    }
    if let Ok(text) = object.cast_exact::<PyString>() {
        // A string with lone surrogates has no UTF-8 form.
        let Ok(text) = text.to_str() else {
            return Some(false);
        };
        out.push(tag::STR);
        out.extend_from_slice(text.as_bytes());
    } else if object.is_none() {
        out.push(tag::NONE);
    } else if let Ok(number) = object.cast_exact::<PyFloat>() {
        out.push(tag::FLOAT);
        out.extend_from_slice(&number.value().to_ne_bytes());
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        out.push(tag::BYTES);
        out.extend_from_slice(bytes.as_bytes());
    } else if let Ok(truth) = object.cast_exact::<PyBool>() {
        out.push(if truth.is_true() { tag::TRUE } else { tag::FALSE });
    } else {
        return None;
    }
    Some(true)
}

#[allow(unsafe_code)]
#[inline]
fn encode_int(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
    let mut overflow = 0;
    // SAFETY: the object is an int, and the interpreter is attached. Overflow raises nothing, and there is no other
    // error.
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(object.as_ptr(), &raw mut overflow) };
    if overflow != 0 {
        return false;
    }
    out.push(tag::INT);
    out.extend_from_slice(&number.to_ne_bytes());
    true
}

/// Appends the compact form of a container. Where this returns false, a part may have been appended.
fn encode_container(object: &Bound<'_, PyAny>, out: &mut Vec<u8>, seen: &mut Seen) -> bool {
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        return begin(tag::DICT, dict.len(), out, seen)
            && seen.is_new(object)
            && dict
                .iter()
                .all(|(key, value)| encode_item(&key, out, seen) && encode_item(&value, out, seen));
    }
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return begin(tag::TUPLE, tuple.len(), out, seen)
            && tuple.iter_borrowed().all(|item| encode_item(&item, out, seen));
    }
    match object.cast_exact::<PyList>() {
        Ok(list) => {
            begin(tag::LIST, list.len(), out, seen)
                && seen.is_new(object)
                && list.iter().all(|item| encode_item(&item, out, seen))
        }
        Err(_) => false,
    }
}

/// Appends the head of a container. Returns false if the object has too many items.
fn begin(tag: u8, count: usize, out: &mut Vec<u8>, seen: &mut Seen) -> bool {
    seen.items += count;
    if seen.items > MAX_ITEMS {
        return false;
    }
    out.extend_from_slice(&[tag, count as u8]);
    true
}

/// Appends the form of an item of a container. Where this returns false, a part may have been appended.
fn encode_item(item: &Bound<'_, PyAny>, out: &mut Vec<u8>, seen: &mut Seen) -> bool {
    let at = out.len();
    out.extend_from_slice(&[0; 2]);
    if !encode_scalar(item, out).unwrap_or_else(|| encode_container(item, out, seen)) {
        return false;
    }
    let len = out.len() - at - 2;
    out[at..at + 2].copy_from_slice(&(len as u16).to_ne_bytes());
    len <= MAX_ITEM
}

/// Returns the object that has this compact form, `None` if the bytes are no compact form.
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
        tag::TUPLE => PyTuple::new(py, items(py, content, 1)?).ok()?.into_any(),
        tag::LIST => PyList::new(py, items(py, content, 1)?).ok()?.into_any(),
        tag::DICT => decode_dict(py, content)?,
        _ => return None,
    })
}

/// Returns the items of a container, which has `each` items for each that was counted.
fn items<'py>(py: Python<'py>, content: &[u8], each: usize) -> Option<Vec<Bound<'py, PyAny>>> {
    let (&count, mut rest) = content.split_first()?;
    let count = usize::from(count) * each;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, after) = rest.split_first_chunk::<2>()?;
        let (item, after) = after.split_at_checked(usize::from(u16::from_ne_bytes(*len)))?;
        items.push(decode(py, item)?);
        rest = after;
    }
    Some(items)
}

fn decode_dict<'py>(py: Python<'py>, content: &[u8]) -> Option<Bound<'py, PyAny>> {
    let dict = PyDict::new(py);
    let items = items(py, content, 2)?;
    for pair in items.chunks_exact(2) {
        dict.set_item(&pair[0], &pair[1]).ok()?;
    }
    Some(dict.into_any())
}
