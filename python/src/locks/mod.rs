//! The classes under `Lock`, `RLock`, `Semaphore` and `BoundedSemaphore`, with the counts that the standard library's
//! classes have.

mod hold_count;

use crate::errors;
use crate::errors::OrRaise;
use crate::handles::{self, HandleRef};
use crate::wait;
use hold_count::HoldCount;
use procession::bindings::{self, Acquire, Handle, HandleKind, TryAcquired, WaitOutcome, WaitQueue};
use procession::{Error, Lock as EngineLock, RLock as EngineRLock, Semaphore as EngineSemaphore};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::sync::OnceLock;

/// Warns that a lock was acquired from a process that died holding it.
pub fn warn(py: Python<'_>, what: &str) -> PyResult<()> {
    static CATEGORY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let category = errors::imported(py, &CATEGORY, "procession.synchronize", "OwnerDiedWarning")?;
    let text = format!("a process died holding this {what}; what it protects may be half changed");
    let text = std::ffi::CString::new(text).expect("no zero bytes");
    PyErr::warn(py, category, &text, 1)
}

/// Tries to acquire a lock for about a microsecond: most are held for a moment only.
#[inline]
fn try_for_a_moment(inner: &impl Acquire) -> TryAcquired {
    let mut taken = TryAcquired::Not;
    wait::for_a_moment(|| {
        taken = inner.try_quick();
        taken != TryAcquired::Not
    });
    taken
}

/// Makes one of the classes.
macro_rules! sync_class {
    ($name:ident, $engine:ty, $sort:expr, $what:literal, $doc:literal, { $($methods:tt)* }) => {
        #[doc = $doc]
        #[pyclass(frozen, subclass, module = "procession._engine")]
        pub struct $name {
            inner: OnceLock<$engine>,
            record: HoldCount,
        }

        impl $name {
            /// Returns the engine's object. Raises if there is none yet.
            #[inline]
            fn inner(&self) -> PyResult<&$engine> {
                self.inner
                    .get()
                    .ok_or_else(|| PyRuntimeError::new_err(concat!($what, ".__init__() was not called")))
            }

            /// Acquires this, waiting until `deadline`. Returns false if it was not acquired in time.
            #[inline]
            pub fn acquire_until(&self, py: Python<'_>, deadline: bindings::Deadline) -> PyResult<bool> {
                let inner = self.inner()?;
                let taken = match (try_for_a_moment(inner), deadline) {
                    (TryAcquired::Not, bindings::Deadline::Now) => wait::briefly(py, || inner.acquire_until(deadline)),
                    (TryAcquired::Not, _) => py.detach(|| inner.acquire_until(deadline)),
                    (taken, _) => Ok(taken),
                };
                let taken = taken.or_raise(py)?;
                match taken {
                    TryAcquired::Clean => {}
                    TryAcquired::FromDead => {
                        if let Err(error) = warn(py, $what) {
                            // The warning was turned into an error, so the call does not acquire.
                            let _ = wait::briefly(py, || inner.release());
                            return Err(error);
                        }
                    }
                    TryAcquired::Not => return Ok(false),
                    TryAcquired::Interrupted => return Err(wait::pending()),
                }
                self.record.add(1);
                Ok(true)
            }

            /// Runs `work` while this is acquired. Returns `None` if it cannot be acquired at once. The count of
            /// acquires is left as it is: `work` runs no Python code, which could see the count.
            #[inline]
            pub fn for_an_instant<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
                let inner = self.inner.get()?;
                if inner.try_quick() != TryAcquired::Clean {
                    return None;
                }
                let answer = work();
                let _ = inner.release();
                Some(answer)
            }

            /// Sets the engine's object. Raises if there is one already.
            fn set(&self, made: $engine) -> PyResult<()> {
                self.inner
                    .set(made)
                    .map_err(|_| PyRuntimeError::new_err(concat!($what, ".__init__() was called twice")))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                match self.inner.take() {
                    Some(inner) if Acquire::is_in_change(&inner) => wait::let_go_of_much(inner),
                    Some(inner) => wait::let_go(inner),
                    None => {}
                }
            }
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = (*_args, **_options))]
            fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
                Self { inner: OnceLock::new(), record: HoldCount::default() }
            }

            /// Acquire this, waiting (unless `block` is false) for at most `timeout` seconds. Return whether it was
            /// acquired.
            ///
            /// If its holder died, this warns with an `OwnerDiedWarning`.
            #[pyo3(signature = (block = true, timeout = None))]
            fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<f64>) -> PyResult<bool> {
                self.acquire_until(py, wait::deadline(block, timeout))
            }

            fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
                self.acquire_until(py, bindings::Deadline::Never)
            }

            #[pyo3(signature = (*_error))]
            fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyTuple>) -> PyResult<()> {
                self.release(py)
            }

            /// Return what represents this object in a pickle.
            fn _handle_ref(&self) -> PyResult<HandleRef> {
                Ok(handles::reference_to(Handle::from(self.inner()?)))
            }

            /// Make this the object that a handle reference stands for.
            fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef) -> PyResult<()> {
                let inner = handles::resolve(py, &handle_ref, $sort)?.try_into().map_err(refused)?;
                self.set(inner)
            }

            /// Return how many times this process has acquired it, less how many times it has released it.
            fn _count(&self) -> i64 {
                self.record.count()
            }

            /// Return whether this thread acquired it last, and this process has not released it since.
            fn _is_mine(&self) -> bool {
                self.record.is_mine()
            }

            /// Return whether a thread that acquires it has to wait.
            fn _is_zero(&self) -> PyResult<bool> {
                Ok(self._get_value()? == 0)
            }

            $($methods)*
        }
    };
}

/// Makes locks that a condition can release for a wait.
macro_rules! given_up_to_wait {
    ($($name:ident),*) => {$(
        impl $name {
            /// Waits in `queue` while this is released. Returns how that ended, and which process died holding the
            /// lock.
            pub fn wait_in(
                &self,
                py: Python<'_>,
                queue: &WaitQueue,
                deadline: bindings::Deadline,
            ) -> PyResult<(WaitOutcome, Option<u32>)> {
                let inner = self.inner()?;
                let count = self.record.count();
                self.record.add(-count);
                let answer = py.detach(|| bindings::wait_in_queue(queue, inner, deadline));
                self.record.add(count);
                answer.or_raise(py)
            }
        }
    )*};
}

given_up_to_wait!(Lock, RLock);

/// Makes the exception of a handle that is of another kind.
fn refused(error: Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Makes the standard library's exception for one release too many.
fn too_many() -> PyErr {
    PyValueError::new_err("semaphore or lock released too many times")
}

sync_class!(
    Lock,
    EngineLock,
    HandleKind::Lock,
    "Lock",
    "A lock between processes and threads.",
    {
        fn _make(&self, py: Python<'_>) -> PyResult<()> {
            self.set(wait::briefly(py, EngineLock::new).or_raise(py)?)
        }

        /// Release the lock, also if another thread or process has acquired it.
        ///
        /// Raises `ValueError` if it is not acquired.
        pub fn release(&self, _py: Python<'_>) -> PyResult<()> {
            match self.inner()?.force_unlock() {
                Ok(()) => {
                    self.record.add(-1);
                    Ok(())
                }
                Err(_) => Err(too_many()),
            }
        }

        fn _get_value(&self) -> PyResult<i64> {
            Ok(i64::from(!self.inner()?.is_locked()))
        }
    }
);

sync_class!(
    RLock,
    EngineRLock,
    HandleKind::RLock,
    "RLock",
    "A lock that its holder can acquire again.",
    {
        fn _make(&self, py: Python<'_>) -> PyResult<()> {
            self.set(wait::briefly(py, EngineRLock::new).or_raise(py)?)
        }

        /// Release the lock once.
        ///
        /// Raises `AssertionError` if this thread does not hold it.
        pub fn release(&self, _py: Python<'_>) -> PyResult<()> {
            match self.inner()?.release() {
                Ok(()) => {
                    self.record.add(-1);
                    Ok(())
                }
                Err(_) => Err(PyAssertionError::new_err(
                    "attempt to release recursive lock not owned by thread",
                )),
            }
        }

        fn _get_value(&self) -> PyResult<i64> {
            Ok(i64::from(self.inner()?.depth() == 0))
        }
    }
);

sync_class!(
    Semaphore,
    EngineSemaphore,
    HandleKind::Semaphore,
    "Semaphore",
    "A semaphore between processes and threads.",
    {
        fn _make(&self, py: Python<'_>, value: i64, most: i64) -> PyResult<()> {
            let (Ok(value), Ok(most)) = (usize::try_from(value), u64::try_from(most)) else {
                return Err(PyValueError::new_err(format!(
                    "a semaphore's value must be from 0 to {}, not {value}",
                    i32::MAX
                )));
            };
            if value > i32::MAX as usize {
                return Err(PyValueError::new_err(format!(
                    "a semaphore's value must be from 0 to {}, not {value}",
                    i32::MAX
                )));
            }
            let made = wait::briefly(py, || {
                if most == value as u64 {
                    EngineSemaphore::bounded(value)
                } else {
                    EngineSemaphore::new(value)
                }
            });
            self.set(made.or_raise(py)?)
        }

        /// Release the semaphore, also if another thread or process has acquired it.
        ///
        /// Raises `ValueError` if it is bounded and not acquired.
        pub fn release(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            let released = if bindings::release_quick(inner) {
                Ok(())
            } else {
                wait::briefly(py, || inner.release())
            };
            match released {
                Ok(()) => {
                    self.record.add(-1);
                    Ok(())
                }
                Err(Error::TooManyReleases { .. }) => Err(too_many()),
                Err(error) => Err(errors::from_engine(py, error)),
            }
        }

        fn _get_value(&self) -> PyResult<i64> {
            Ok(self.inner()?.value() as i64)
        }
    }
);
