//! The class under `Event`.

use crate::errors::{self, OrRaise};
use crate::handles::HandleRef;
use crate::wait;
use procession::bindings::{self, Deadline, Handle, HandleKind};
use procession::{Error, Event as EngineEvent};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::OnceLock;

shared_class!(
    Event,
    EngineEvent,
    HandleKind::Event,
    "Event",
    "A flag that processes and threads can wait for.",
    {
        /// Make the event.
        fn _make(&self, py: Python<'_>) -> PyResult<()> {
            self.set_inner(wait::briefly(py, EngineEvent::new).or_raise(py)?)
        }

        /// Return whether the event is set.
        fn is_set(&self) -> PyResult<bool> {
            Ok(self.inner()?.is_set())
        }

        /// Set the event, which wakes every waiter. A signal handler may call this, also while its thread waits for
        /// the event.
        fn set(&self, py: Python<'_>) -> PyResult<()> {
            let inner = self.inner()?;
            wait::awake(py, || inner.set());
            Ok(())
        }

        /// Clear the event.
        fn clear(&self) -> PyResult<()> {
            self.inner()?.clear();
            Ok(())
        }

        /// Wait until the event is set, for at most `timeout` seconds, and return whether it was set.
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
