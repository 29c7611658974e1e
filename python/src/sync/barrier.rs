//! The class under `Barrier`.

use crate::errors::{self, OrRaise};
use crate::handles::HandleRef;
use crate::wait;
use procession::bindings::{self, Arrival, Deadline, Handle, HandleKind};
use procession::{Barrier as EngineBarrier, Error};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::sync::OnceLock;
use std::time::Duration;

shared_class!(
    Barrier,
    EngineBarrier,
    HandleKind::Barrier,
    "Barrier",
    "A place where a number of processes and threads wait for each other.",
    {
        /// Make the barrier.
        fn _make(&self, py: Python<'_>, parties: i64) -> PyResult<()> {
            match usize::try_from(parties) {
                Ok(parties) if parties > 0 => {
                    self.set_inner(wait::briefly(py, || EngineBarrier::new(parties)).or_raise(py)?)
                }
                _ => Err(PyValueError::new_err("parties must be > 0")),
            }
        }

        /// Wait for all parties, for at most `timeout` seconds. The last one to arrive calls `action` before all go on.
        ///
        /// Return this party's number.
        #[pyo3(signature = (action = None, timeout = None))]
        fn _wait(
            &self,
            py: Python<'_>,
            action: Option<&Bound<'_, PyAny>>,
            timeout: Option<f64>,
        ) -> PyResult<usize> {
            let barrier = self.inner()?;
            let deadline = match wait::deadline(true, timeout) {
                // A timeout of zero breaks the barrier, as in the standard library.
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
                            // Dropping this breaks the barrier.
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

        /// Reset the barrier: those that wait get `BrokenBarrierError`, and it can be used again.
        fn reset(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            wait::briefly(py, || bindings::reset(inner)).or_raise(py)
        }

        /// Break the barrier: those that wait, and those that arrive later, get `BrokenBarrierError`.
        fn abort(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            wait::briefly(py, || bindings::abort(inner)).or_raise(py)
        }

        /// The number of parties.
        #[getter]
        fn parties(&self) -> PyResult<usize> {
            Ok(self.inner()?.parties())
        }

        /// The number of parties that wait.
        #[getter]
        fn n_waiting(&self) -> PyResult<usize> {
            Ok(self.inner()?.waiting())
        }

        /// True if the barrier is broken.
        #[getter]
        fn broken(&self) -> PyResult<bool> {
            Ok(self.inner()?.is_broken())
        }
    }
);

/// Makes a `threading.BrokenBarrierError`.
fn broken(py: Python<'_>) -> PyErr {
    static CELL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match errors::imported(py, &CELL, "threading", "BrokenBarrierError") {
        Ok(class) => PyErr::from_type(class.clone(), ()),
        Err(error) => error,
    }
}
