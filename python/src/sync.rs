//! Lines, events and barriers: what Condition, Event and Barrier stand on.

use crate::errors::{self, OrRaise};
use crate::handles::{self, HandleRef};
use crate::locks::{Lock, RLock, warn};
use crate::wait;
use procession::bindings::{
    self, Arrival, Deadline, Handle, HandleKind, Relock, WaitOutcome, WaitQueue as RawWaitQueue,
};
use procession::{Barrier as EngineBarrier, Error, Event as EngineEvent};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

macro_rules! shared_class {
    ($name:ident, $engine:ty, $sort:expr, $what:literal, $doc:literal, { $($methods:tt)* }) => {
        #[doc = $doc]
        #[pyclass(frozen, subclass, module = "procession._engine")]
        pub struct $name {
            inner: OnceLock<$engine>,
        }

        impl $name {
            #[inline]
            pub(crate) fn inner(&self) -> PyResult<&$engine> {
                self.inner
                    .get()
                    .ok_or_else(|| PyRuntimeError::new_err(concat!($what, ".__init__() was not called")))
            }

            fn set_inner(&self, made: $engine) -> PyResult<()> {
                self.inner
                    .set(made)
                    .map_err(|_| PyRuntimeError::new_err(concat!($what, ".__init__() was called twice")))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if let Some(inner) = self.inner.take() {
                    wait::let_go(inner);
                }
            }
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = (*_args, **_options))]
            fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
                Self { inner: OnceLock::new() }
            }

            fn _handle_ref(&self) -> PyResult<HandleRef> {
                Ok(handles::reference_to(Handle::from(self.inner()?)))
            }

            fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef) -> PyResult<()> {
                let found = handles::resolve(py, &handle_ref, $sort)?.try_into();
                self.set_inner(found.map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?)
            }

            $($methods)*
        }
    };
}

/// How often another class's lock may raise something instead of being acquired.
const ATTEMPTS: u32 = 100;

/// A lock of another class than ours, which keeps to what the standard library's have.
struct Foreign<'l> {
    lock: &'l Py<PyAny>,
    /// What was raised while it was acquired again.
    raised: Mutex<Option<PyErr>>,
}

impl Foreign<'_> {
    fn record_error(&self, error: PyErr) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl Relock for Foreign<'_> {
    fn unlock_all(&self) -> procession::Result<u64> {
        Python::attach(|py| {
            let lock = self.lock.bind(py);
            let count: u64 = lock.getattr("_semlock")?.call_method0("_count")?.extract()?;
            for _ in 0..count {
                lock.call_method0("release")?;
            }
            Ok(count)
        })
        .map_err(|error| {
            self.record_error(error);
            Error::NotLocked
        })
    }

    fn relock(&self, depth: u64) -> Option<u32> {
        Python::attach(|py| {
            for _ in 0..depth {
                // What a signal handler raises meanwhile is raised when it is held again. A lock that goes on raising something
                // cannot be acquired.
                for _ in 0..ATTEMPTS {
                    match self.lock.bind(py).call_method0("acquire") {
                        Ok(_) => break,
                        Err(error) => self.record_error(error),
                    }
                }
            }
        });
        None
    }
}

shared_class!(
    WaitQueue,
    RawWaitQueue,
    HandleKind::WaitQueue,
    "Condition",
    "A line to wait in until somebody calls.",
    {
        fn _make(&self, py: Python<'_>) -> PyResult<()> {
            self.set_inner(wait::briefly(py, RawWaitQueue::new).or_raise(py)?)
        }

        /// Give `lock` up, wait to be called, and acquire it again; whether somebody called in time.
        #[pyo3(signature = (lock, timeout = None))]
        fn _wait(&self, py: Python<'_>, lock: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<bool> {
            let (queue, deadline) = (self.inner()?, wait::deadline(true, timeout));
            let (call, died) = if let Ok(lock) = lock.cast::<RLock>() {
                lock.get().wait_in(py, queue, deadline)?
            } else if let Ok(lock) = lock.cast::<Lock>() {
                lock.get().wait_in(py, queue, deadline)?
            } else {
                wait_foreign(py, queue, lock, deadline)?
            };
            if call == WaitOutcome::Interrupted {
                return Err(wait::pending());
            }
            if died.is_some() {
                warn(py, "Condition")?;
            }
            Ok(call == WaitOutcome::Notified)
        }

        /// Call the first `n` who wait; how many there were.
        fn _notify(&self, py: Python<'_>, n: i64) -> PyResult<u64> {
            let (inner, n) = (self.inner()?, u64::try_from(n).unwrap_or(0));
            wait::briefly(py, || inner.notify(n)).or_raise(py)
        }

        /// How many wait.
        fn _waiting(&self) -> PyResult<u64> {
            Ok(self.inner()?.waiting())
        }
    }
);

fn wait_foreign(
    py: Python<'_>,
    queue: &RawWaitQueue,
    lock: &Bound<'_, PyAny>,
    deadline: Deadline,
) -> PyResult<(WaitOutcome, Option<u32>)> {
    let foreign = Foreign {
        lock: lock.as_unbound(),
        raised: Mutex::new(None),
    };
    let answer = py.detach(|| bindings::wait_in_queue(queue, &foreign, deadline));
    let raised = foreign
        .raised
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match raised {
        Some(error) => Err(error),
        None => answer.or_raise(py),
    }
}

shared_class!(
    Event,
    EngineEvent,
    HandleKind::Event,
    "Event",
    "A flag that processes and threads can wait for.",
    {
        fn _make(&self, py: Python<'_>) -> PyResult<()> {
            self.set_inner(wait::briefly(py, EngineEvent::new).or_raise(py)?)
        }

        /// Whether it is set.
        fn is_set(&self) -> PyResult<bool> {
            Ok(self.inner()?.is_set())
        }

        /// Set it: whoever waits goes on. A signal handler may do so, also while its thread waits for it.
        fn set(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            wait::awake(py, || inner.set());
            Ok(())
        }

        /// Clear it.
        fn clear(&self) -> PyResult<()> {
            self.inner()?.clear();
            Ok(())
        }

        /// Wait until it is set, for at most `timeout` seconds; whether it was.
        #[pyo3(signature = (timeout = None))]
        fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
            let (event, deadline) = (self.inner()?, wait::deadline(true, timeout));
            let mut set = false;
            wait::for_a_moment(|| {
                set = event.is_set();
                set || deadline == Deadline::Now
            });
            if set || deadline == Deadline::Now {
                return Ok(set);
            }
            match py.detach(|| bindings::await_event(event, deadline)) {
                Ok(()) => Ok(true),
                Err(Error::Timeout) => Ok(false),
                Err(error) => Err(errors::from_engine(py, error)),
            }
        }
    }
);

shared_class!(
    Barrier,
    EngineBarrier,
    HandleKind::Barrier,
    "Barrier",
    "A place where a number of processes and threads wait for each other.",
    {
        fn _make(&self, py: Python<'_>, parties: i64) -> PyResult<()> {
            match usize::try_from(parties) {
                Ok(parties) if parties > 0 => {
                    self.set_inner(wait::briefly(py, || EngineBarrier::new(parties)).or_raise(py)?)
                }
                _ => Err(PyValueError::new_err("parties must be > 0")),
            }
        }

        /// Wait for all parties, for at most `timeout` seconds; the last one calls `action` before anybody goes on.
        #[pyo3(signature = (action = None, timeout = None))]
        fn _wait(
            &self,
            py: Python<'_>,
            action: Option<&Bound<'_, PyAny>>,
            timeout: Option<f64>,
        ) -> PyResult<usize> {
            let barrier = self.inner()?;
            let deadline = match wait::deadline(true, timeout) {
                // Who has no patience breaks the barrier, as the standard library has it.
                Deadline::Now => Deadline::after(Duration::ZERO),
                deadline => deadline,
            };
            let acts = action.is_some();
            let arrival = py.detach(|| bindings::arrive(barrier, deadline, acts));
            let passed = match (arrival, action) {
                (Ok(Arrival::Acts(acting)), action) => {
                    match action.map_or(Ok(()), |action| action.call0().map(drop)) {
                        Ok(()) => py.detach(|| acting.done()),
                        Err(error) => {
                            // This breaks the barrier.
                            py.detach(|| drop(acting));
                            return Err(error);
                        }
                    }
                }
                (Ok(Arrival::Passed(index)), _) => Ok(index),
                (Err(error), _) => Err(error),
            };
            passed.map_err(|error| match error {
                Error::BrokenBarrier | Error::Timeout => broken(py),
                error => errors::from_engine(py, error),
            })
        }

        /// Make it as new: whoever waits gets `BrokenBarrierError`.
        fn reset(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            wait::briefly(py, || bindings::reset(inner)).or_raise(py)
        }

        /// Break it: whoever waits, and whoever comes, gets `BrokenBarrierError`.
        fn abort(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            wait::briefly(py, || bindings::abort(inner)).or_raise(py)
        }

        /// For how many it is.
        #[getter]
        fn parties(&self) -> PyResult<usize> {
            Ok(self.inner()?.parties())
        }

        /// How many wait.
        #[getter]
        fn n_waiting(&self) -> PyResult<usize> {
            Ok(self.inner()?.waiting())
        }

        /// Whether it is broken.
        #[getter]
        fn broken(&self) -> PyResult<bool> {
            Ok(self.inner()?.is_broken())
        }
    }
);

/// `threading.BrokenBarrierError`.
fn broken(py: Python<'_>) -> PyErr {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match errors::imported(py, &CELL, "threading", "BrokenBarrierError") {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(error) => error,
    }
}
