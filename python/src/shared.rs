//! Values and arrays under a lock, whose numbers are read and written without a ctypes object.

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

/// What guards a value: a lock of this package, or any object with `acquire` and `release`.
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

    /// Runs `work` as `for_an_instant` of the locks does. Returns `None` for an object that is no lock of this package.
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

/// An array of numbers of one type, which begins where a region begins.
struct Numbers {
    memory: Py<Region>,
    code: Code,
    count: usize,
}

impl Numbers {
    /// Returns the place of number `index`, counted from the end if that is negative. Returns `None` if it is out of
    /// bounds.
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
    /// The ctypes type of a number that has no ctypes object yet.
    class: Option<Py<PyAny>>,
    /// The ctypes object, if there is one.
    object: OnceLock<Py<PyAny>>,
}

impl Guarded {
    /// Runs `work` while the guard is acquired.
    #[inline]
    fn held<T>(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        self.guard.acquire(py)?;
        let answer = work();
        self.guard.release(py)?;
        answer
    }

    /// Returns number `index`. Where there is no such number, `otherwise` asks the ctypes object.
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

    /// Sets number `index`. Where there is no such number, or `value` is none, `otherwise` tells the ctypes object.
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

    /// Returns the ctypes object, which is made when it is first asked for.
    fn object<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        static REBUILD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if self.object.get().is_none() {
            let (Some(class), Some(numbers)) = (&self.class, &self.numbers) else {
                return Err(PyRuntimeError::new_err(
                    "this value has neither a number nor a ctypes object: make it with Value() or Array()",
                ));
            };
            let rebuild = REBUILD.import(py, "procession.sharedctypes", "rebuild_ctype")?;
            let made = rebuild.call1((class, &numbers.memory, py.None()))?;
            // Another thread may have made one meanwhile. Then that one is used.
            let _ = self.object.set(made.unbind());
        }
        Ok(self.object.get().expect("it was just set").bind(py))
    }

    /// Returns the place of number `index`, if there are numbers and it is not out of bounds.
    #[inline]
    fn number(&self, index: isize) -> Option<ElementRef<'_>> {
        self.numbers.as_ref()?.at(index)
    }

    /// Shows the garbage collector the objects that this refers to.
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

/// Does the work of `_begin` of both classes.
///
/// * `lock`: what guards the value; `plain` if its class is exactly one of this package, so that it overrides nothing.
/// * `numbers`: the memory, the letter of the type, and how many there are.
/// * `class`, `object`: the ctypes object, or the type to make one of.
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
        // The last number lies in the memory, too.
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

            /// Set the lock, the numbers and the ctypes object.
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

            /// Return the ctypes object.
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
    "A value under a lock. Its ctypes object is made when it is first asked for.",
    {
        /// Return the memory and the ctypes type of a number.
        #[getter]
        fn _numbers(&self, py: Python<'_>) -> PyResult<Option<(Py<Region>, Py<PyAny>)>> {
            let inner = self.inner()?;
            let (Some(numbers), Some(class)) = (&inner.numbers, &inner.class) else {
                return Ok(None);
            };
            Ok(Some((numbers.memory.clone_ref(py), class.clone_ref(py))))
        }

        /// The value. Reading and writing it acquires the lock.
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
    "A ctypes array under a lock. Its numbers are read and written without ctypes.",
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

/// Returns the index of an object of exactly the type `int`, `None` for others.
#[inline]
fn position(index: &Bound<'_, PyAny>) -> Option<isize> {
    index.cast_exact::<PyInt>().ok()?.extract().ok()
}
