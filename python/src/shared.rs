//! Shared memory, and the classes over it that need no ctypes object: values and arrays of numbers under a lock.

use crate::carry::{self, Ticket};
use crate::errors::OrRaise;
use crate::locks::{Lock, RLock};
use procession::door::{Deadline, Handle, Memory as EngineMemory, Sort};
use pyo3::exceptions::{PyBufferError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{self, Ordering::Relaxed};

/// Zeroed memory of the program's heap, there as long as anybody in the program has it.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Memory {
    inner: OnceLock<EngineMemory>,
}

impl Memory {
    fn inner(&self) -> PyResult<&EngineMemory> {
        self.inner
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("there is no memory yet"))
    }

    fn set(&self, made: EngineMemory) -> PyResult<()> {
        self.inner
            .set(made)
            .map_err(|_| PyRuntimeError::new_err("there is memory already"))
    }
}

#[pymethods]
impl Memory {
    #[new]
    fn new() -> Self {
        Self {
            inner: OnceLock::new(),
        }
    }

    fn _make(&self, py: Python<'_>, len: usize) -> PyResult<()> {
        self.set(EngineMemory::new(len).or_raise(py)?)
    }

    fn _ticket(&self) -> PyResult<Ticket> {
        Ok(carry::ticket(Handle::from(self.inner()?)))
    }

    fn _redeem(&self, ticket: Ticket) -> PyResult<()> {
        let found = carry::redeem(&ticket, Sort::Memory)?;
        let memory = EngineMemory::try_from(found);
        self.set(memory.map_err(|error| PyRuntimeError::new_err(error.to_string()))?)
    }

    /// Where it is in this process.
    fn _address(&self) -> PyResult<usize> {
        Ok(self.inner()?.address().addr())
    }

    /// Sets its beginning to a number of ctypes' sort `code`, if `value` is such a number; whether it was.
    fn _store(&self, code: char, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(code) =
            Code::of(code).filter(|code| code.size() <= self.inner.get().map_or(0, EngineMemory::len))
        else {
            return Ok(false);
        };
        let bits = code.bits_of(value)?;
        if let Some(bits) = bits {
            code.set_bits(self.inner()?.address(), bits);
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
        // SAFETY: `view` is the caller's to fill. The memory is in the heap's mapping and valid as long as the handle, which
        // this object keeps for good, and which the view keeps by its reference to this object; Rust never makes a
        // reference to it.
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

/// The sorts of number that ctypes has, by its letters; `l` is 64 bits wherever this runs.
#[derive(Clone, Copy)]
enum Code {
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
    fn of(letter: char) -> Option<Self> {
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

    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The bits at `at`, which is a multiple of their size in memory that lives on. Whoever has the ctypes object may write
    /// at any time, so they are read and written as atomics.
    #[inline]
    #[allow(unsafe_code)]
    fn bits(self, at: *mut u8) -> u64 {
        // SAFETY: aligned, and there, as the caller says.
        unsafe {
            match self.size() {
                1 => u64::from(atomic::AtomicU8::from_ptr(at).load(Relaxed)),
                2 => u64::from(atomic::AtomicU16::from_ptr(at.cast()).load(Relaxed)),
                4 => u64::from(atomic::AtomicU32::from_ptr(at.cast()).load(Relaxed)),
                _ => atomic::AtomicU64::from_ptr(at.cast()).load(Relaxed),
            }
        }
    }

    /// See [`bits`](Self::bits).
    #[inline]
    #[allow(unsafe_code)]
    fn set_bits(self, at: *mut u8, bits: u64) {
        // SAFETY: aligned, and there, as the caller says.
        unsafe {
            match self.size() {
                1 => atomic::AtomicU8::from_ptr(at).store(bits as u8, Relaxed),
                2 => atomic::AtomicU16::from_ptr(at.cast()).store(bits as u16, Relaxed),
                4 => atomic::AtomicU32::from_ptr(at.cast()).store(bits as u32, Relaxed),
                _ => atomic::AtomicU64::from_ptr(at.cast()).store(bits, Relaxed),
            }
        }
    }

    /// The number with these bits.
    #[inline]
    fn number(self, py: Python<'_>, bits: u64) -> PyResult<Bound<'_, PyAny>> {
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

    /// The bits of `value`, if it is of just the type for it. What else ctypes takes, and what it says to the rest, it knows
    /// best itself.
    #[inline]
    fn bits_of(self, value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
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

/// A `float`, or an `int` as one.
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

/// The low bits of an `int` of any size.
#[inline]
#[allow(unsafe_code)]
fn wrapped(number: &Bound<'_, PyInt>) -> u64 {
    // SAFETY: it is an int, for which this cannot fail.
    unsafe { ffi::PyLong_AsUnsignedLongLongMask(number.as_ptr()) }
}

/// What guards a value: a lock of ours, or anything that acquires and releases.
enum Guard {
    Lock(Py<Lock>),
    RLock(Py<RLock>),
    Any { acquire: Py<PyAny>, release: Py<PyAny> },
}

impl Guard {
    #[inline]
    fn acquire(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Lock(lock) => lock.get().acquire_until(py, Deadline::Never).map(drop),
            Self::RLock(lock) => lock.get().acquire_until(py, Deadline::Never).map(drop),
            Self::Any { acquire, .. } => acquire.call0(py).map(drop),
        }
    }

    /// See `for_an_instant` of the locks.
    #[inline]
    fn for_an_instant<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        match self {
            Self::Lock(lock) => lock.get().for_an_instant(work),
            Self::RLock(lock) => lock.get().for_an_instant(work),
            Self::Any { .. } => None,
        }
    }

    #[inline]
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Lock(lock) => lock.get().release(),
            Self::RLock(lock) => lock.get().release(),
            Self::Any { release, .. } => release.call0(py).map(drop),
        }
    }
}

/// Numbers of one sort, from the beginning of shared memory.
struct Numbers {
    memory: Py<Memory>,
    code: Code,
    count: usize,
}

impl Numbers {
    /// Where number `index` is, if there is one.
    #[inline]
    fn at(&self, index: isize) -> Option<*mut u8> {
        let index = if index < 0 {
            self.count.checked_sub(index.unsigned_abs())?
        } else {
            index.unsigned_abs()
        };
        let start = self.memory.get().inner.get()?.address();
        (index < self.count).then(|| start.wrapping_add(index * self.code.size()))
    }
}

/// What is guarded: numbers, a ctypes object, or both.
struct Guarded {
    guard: Guard,
    numbers: Option<Numbers>,
    /// The ctypes type of what has no object yet.
    class: Option<Py<PyAny>>,
    object: OnceLock<Py<PyAny>>,
}

impl Guarded {
    /// Does something while it is acquired.
    #[inline]
    fn held<T>(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        self.guard.acquire(py)?;
        let answer = work();
        self.guard.release(py)?;
        answer
    }

    /// Number `index`; `otherwise` asks the ctypes object for what is none.
    #[inline]
    fn get<'py>(
        &self,
        py: Python<'py>,
        index: Option<isize>,
        otherwise: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some((code, at)) = index.and_then(|index| self.number(index)) else {
            let object = self.object(py)?;
            return self.held(py, || otherwise(object));
        };
        let bits = match self.guard.for_an_instant(|| code.bits(at)) {
            Some(bits) => bits,
            None => self.held(py, || Ok(code.bits(at)))?,
        };
        code.number(py, bits)
    }

    /// Sets number `index`; `otherwise` tells the ctypes object of what is none.
    #[inline]
    fn set<'py>(
        &self,
        index: Option<isize>,
        value: &Bound<'py, PyAny>,
        otherwise: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let py = value.py();
        if let Some((code, at)) = index.and_then(|index| self.number(index))
            && let Some(bits) = code.bits_of(value)?
        {
            return match self.guard.for_an_instant(|| code.set_bits(at, bits)) {
                Some(()) => Ok(()),
                None => self.held(py, || {
                    code.set_bits(at, bits);
                    Ok(())
                }),
            };
        }
        let object = self.object(py)?;
        self.held(py, || otherwise(object))
    }

    /// The ctypes object, made where somebody asks for it first.
    fn object<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        static REBUILD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if self.object.get().is_none() {
            let (Some(class), Some(numbers)) = (&self.class, &self.numbers) else {
                return Err(PyRuntimeError::new_err("there is nothing that is guarded"));
            };
            let rebuild = REBUILD.import(py, "procession.sharedctypes", "rebuild_ctype")?;
            let made = rebuild.call1((class, &numbers.memory, py.None()))?;
            // Another thread may have been faster; then its object is the one.
            let _ = self.object.set(made.unbind());
        }
        Ok(self.object.get().expect("it was just set").bind(py))
    }

    /// Number `index`, if it is one.
    #[inline]
    fn number(&self, index: isize) -> Option<(Code, *mut u8)> {
        let numbers = self.numbers.as_ref()?;
        Some((numbers.code, numbers.at(index)?))
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.guard {
            Guard::Lock(lock) => visit.call(lock)?,
            Guard::RLock(lock) => visit.call(lock)?,
            Guard::Any { acquire, release } => {
                visit.call(acquire)?;
                visit.call(release)?;
            }
        }
        if let Some(numbers) = &self.numbers {
            visit.call(&numbers.memory)?;
        }
        visit.call(self.class.as_ref())?;
        visit.call(self.object.get())
    }
}

/// What `_begin` of both classes takes: the lock (and whether it is just one of this package's, nothing that overrides
/// anything), the numbers, and the ctypes object or what makes one.
fn begin(
    cell: &OnceLock<Guarded>,
    lock: &Bound<'_, PyAny>,
    plain: bool,
    numbers: Option<(Py<Memory>, char, usize)>,
    class: Option<Py<PyAny>>,
    object: Option<Py<PyAny>>,
) -> PyResult<()> {
    let guard = match (lock.cast::<RLock>(), lock.cast::<Lock>()) {
        (Ok(lock), _) if plain => Guard::RLock(lock.clone().unbind()),
        (_, Ok(lock)) if plain => Guard::Lock(lock.clone().unbind()),
        _ => Guard::Any {
            acquire: lock.getattr("acquire")?.unbind(),
            release: lock.getattr("release")?.unbind(),
        },
    };
    let numbers = numbers.and_then(|(memory, letter, count)| {
        let code = Code::of(letter)?;
        let there = memory.get().inner.get()?.len();
        (code.size().checked_mul(count)? <= there).then_some(Numbers { memory, code, count })
    });
    let guarded = Guarded {
        guard,
        numbers,
        class,
        object: object.map_or_else(OnceLock::new, OnceLock::from),
    };
    cell.set(guarded)
        .map_err(|_| PyRuntimeError::new_err("__init__() was called twice"))
}

macro_rules! synchronized {
    ($name:ident, $doc:literal, { $($methods:tt)* }) => {
        #[doc = $doc]
        #[pyclass(frozen, subclass, module = "procession._engine")]
        pub struct $name {
            inner: OnceLock<Guarded>,
        }

        impl $name {
            #[inline]
            fn inner(&self) -> PyResult<&Guarded> {
                self.inner.get().ok_or_else(|| {
                    PyRuntimeError::new_err(concat!(stringify!($name), ".__init__() was not called"))
                })
            }
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = (*_args, **_options))]
            fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
                Self { inner: OnceLock::new() }
            }

            fn _begin(
                &self,
                lock: &Bound<'_, PyAny>,
                plain: bool,
                numbers: Option<(Py<Memory>, char, usize)>,
                class: Option<Py<PyAny>>,
                object: Option<Py<PyAny>>,
            ) -> PyResult<()> {
                begin(&self.inner, lock, plain, numbers, class, object)
            }

            /// The ctypes object.
            #[getter]
            fn _obj<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.inner()?.object(py).cloned()
            }

            #[allow(clippy::missing_errors_doc)]
            fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
                self.inner.get().map_or(Ok(()), |inner| inner.visit(&visit))
            }

            $($methods)*
        }
    };
}

synchronized!(
    Synchronized,
    "A value under a lock, which is no ctypes object until somebody asks for one.",
    {
        /// Memory and ctypes type of a number.
        #[getter]
        fn _numbers(&self, py: Python<'_>) -> PyResult<Option<(Py<Memory>, Py<PyAny>)>> {
            let inner = self.inner()?;
            let (Some(numbers), Some(class)) = (&inner.numbers, &inner.class) else {
                return Ok(None);
            };
            Ok(Some((numbers.memory.clone_ref(py), class.clone_ref(py))))
        }

        /// The value; reading and writing it acquires the lock.
        #[getter]
        fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            self.inner()?.get(py, Some(0), |object| object.getattr("value"))
        }

        #[setter]
        fn set_value(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
            let otherwise = |object: &Bound<'_, PyAny>| object.setattr("value", value);
            self.inner()?.set(Some(0), value, otherwise)
        }
    }
);

synchronized!(
    SynchronizedArray,
    "A ctypes array under a lock, whose numbers are got and set without ctypes.",
    {
        fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
            let inner = self.inner()?;
            match &inner.numbers {
                Some(numbers) => Ok(numbers.count),
                None => inner.object(py)?.len(),
            }
        }

        fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
            self.inner()?
                .get(index.py(), position(index), |object| object.get_item(index))
        }

        fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
            let otherwise = |object: &Bound<'_, PyAny>| object.set_item(index, value);
            self.inner()?.set(position(index), value, otherwise)
        }
    }
);

/// An index that is just an `int`.
#[inline]
fn position(index: &Bound<'_, PyAny>) -> Option<isize> {
    index.cast_exact::<PyInt>().ok()?.extract().ok()
}
