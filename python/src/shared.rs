//! Values and arrays under a lock, whose numbers need no ctypes object.

use crate::locks::{Lock, RLock};
use crate::numbers::{Code, ElementRef};
use crate::region::Region;
use procession::bindings::Deadline;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::OnceLock;

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
            Self::Lock(lock) => lock.get().release(py),
            Self::RLock(lock) => lock.get().release(py),
            Self::Any { release, .. } => release.call0(py).map(drop),
        }
    }
}

/// Numbers of one sort, from the beginning of shared memory.
struct Numbers {
    memory: Py<Region>,
    code: Code,
    count: usize,
}

impl Numbers {
    /// Where number `index` is, if there is one; from the end where that is negative.
    #[inline]
    fn at(&self, index: isize) -> Option<ElementRef<'_>> {
        let index = if index < 0 {
            self.count.checked_sub(index.unsigned_abs())?
        } else {
            index.unsigned_abs()
        };
        if index < self.count {
            ElementRef::of(self.memory.get().get()?, self.code, index)
        } else {
            None
        }
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
        let Some(place) = index.and_then(|index| self.number(index)) else {
            let object = self.object(py)?;
            return self.held(py, || otherwise(object));
        };
        let bits = match self.guard.for_an_instant(|| place.bits()) {
            Some(bits) => bits,
            None => self.held(py, || Ok(place.bits()))?,
        };
        place.code.number(py, bits)
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
        if let Some(place) = index.and_then(|index| self.number(index))
            && let Some(bits) = place.code.bits_of(value)?
        {
            return match self.guard.for_an_instant(|| place.set_bits(bits)) {
                Some(()) => Ok(()),
                None => self.held(py, || {
                    place.set_bits(bits);
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
    fn number(&self, index: isize) -> Option<ElementRef<'_>> {
        self.numbers.as_ref()?.at(index)
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
    numbers: Option<(Py<Region>, char, usize)>,
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
        // The last one's place is theirs, too.
        ElementRef::of(memory.get().get()?, code, count.checked_sub(1)?)?;
        Some(Numbers { memory, code, count })
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
                numbers: Option<(Py<Region>, char, usize)>,
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
        fn _numbers(&self, py: Python<'_>) -> PyResult<Option<(Py<Region>, Py<PyAny>)>> {
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
