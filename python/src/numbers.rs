//! Numbers in shared memory, of the types that ctypes has.

use procession::bindings::Region;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The types of numbers that ctypes has, by its letters. `l` has 64 bits on every platform of this package.
#[derive(Clone, Copy)]
pub enum Code {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    Bool,
}

impl Code {
    /// Returns the type that ctypes gives this letter.
    pub fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'b' => Self::I8,
            'B' => Self::U8,
            'h' => Self::I16,
            'H' => Self::U16,
            'i' => Self::I32,
            'I' => Self::U32,
            'l' | 'q' => Self::I64,
            'L' | 'Q' => Self::U64,
            'f' => Self::F32,
            'd' => Self::F64,
            '?' => Self::Bool,
            _ => return None,
        })
    }

    /// Returns the number of bytes.
    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Returns the number with these bits.
    #[inline]
    pub fn number(self, py: Python<'_>, bits: u64) -> PyResult<Bound<'_, PyAny>> {
        let signed = |bits: i64| Ok(bits.into_pyobject(py)?.into_any());
        match self {
            Self::I8 => signed(i64::from(bits as i8)),
            Self::I16 => signed(i64::from(bits as i16)),
            Self::I32 => signed(i64::from(bits as i32)),
            Self::I64 => signed(bits.cast_signed()),
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Ok(bits.into_pyobject(py)?.into_any()),
            Self::F32 => Ok(PyFloat::new(py, f64::from(f32::from_bits(bits as u32))).into_any()),
            Self::F64 => Ok(PyFloat::new(py, f64::from_bits(bits)).into_any()),
            Self::Bool => Ok(PyBool::new(py, bits != 0).to_owned().into_any()),
        }
    }

    /// Returns the bits of `value` if its type is exactly the one for this number, else `None`. Other types are for
    /// ctypes to convert or to refuse.
    #[inline]
    pub fn bits_of(self, value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
        Ok(match self {
            Self::F32 => float(value)?.map(|number| u64::from((number as f32).to_bits())),
            Self::F64 => float(value)?.map(f64::to_bits),
            Self::Bool => value
                .cast_exact::<PyBool>()
                .ok()
                .map(|truth| u64::from(truth.is_true())),
            _ => value.cast_exact::<PyInt>().ok().map(wrapped),
        })
    }
}

/// The place of a number in a region, which it borrows.
#[derive(Clone, Copy)]
pub struct ElementRef<'m> {
    pub code: Code,
    at: *mut u8,
    memory: PhantomData<&'m Region>,
}

impl<'m> ElementRef<'m> {
    /// Returns the place of number `index` of the array that fills `memory`, `None` if that is out of bounds.
    #[inline]
    pub fn of(memory: &'m Region, code: Code, index: usize) -> Option<Self> {
        let start = index.checked_mul(code.size())?;
        let fits = start.checked_add(code.size())? <= memory.len();
        fits.then(|| Self {
            code,
            at: memory.address().wrapping_add(start),
            memory: PhantomData,
        })
    }

    /// Reads the number's bits. Every process that has the ctypes object may write at any time, so they are read and
    /// written as atomics.
    #[inline]
    #[allow(unsafe_code)]
    pub fn bits(self) -> u64 {
        // SAFETY: the number lies in the memory (checked when this was made), which is borrowed. It begins at a
        // multiple of its size from the memory's beginning, which is at a multiple of 64. No Rust reference to that
        // memory exists.
        unsafe {
            match self.code.size() {
                1 => u64::from(AtomicU8::from_ptr(self.at).load(Relaxed)),
                2 => u64::from(AtomicU16::from_ptr(self.at.cast()).load(Relaxed)),
                4 => u64::from(AtomicU32::from_ptr(self.at.cast()).load(Relaxed)),
                _ => AtomicU64::from_ptr(self.at.cast()).load(Relaxed),
            }
        }
    }

    /// Sets the number's bits.
    #[inline]
    #[allow(unsafe_code)]
    pub fn set_bits(self, bits: u64) {
        // SAFETY: as for `bits`.
        unsafe {
            match self.code.size() {
                1 => AtomicU8::from_ptr(self.at).store(bits as u8, Relaxed),
                2 => AtomicU16::from_ptr(self.at.cast()).store(bits as u16, Relaxed),
                4 => AtomicU32::from_ptr(self.at.cast()).store(bits as u32, Relaxed),
                _ => AtomicU64::from_ptr(self.at.cast()).store(bits, Relaxed),
            }
        }
    }
}

/// Returns the number of a `float` or an `int`, `None` for other types.
#[inline]
fn float(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return Ok(Some(number.value()));
    }
    match value.cast_exact::<PyInt>() {
        Ok(number) => number.extract().map(Some),
        Err(_) => Ok(None),
    }
}

/// Returns the low 64 bits of an `int` of any size.
#[inline]
#[allow(unsafe_code)]
fn wrapped(number: &Bound<'_, PyInt>) -> u64 {
    // SAFETY: the object is an int, for which this cannot fail.
    unsafe { ffi::PyLong_AsUnsignedLongLongMask(number.as_ptr()) }
}
