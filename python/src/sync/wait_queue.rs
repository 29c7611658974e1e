//! The class under `Condition`: its queue of waiters.

use super::foreign_lock::wait_foreign;
use crate::errors::OrRaise;
use crate::handles::HandleRef;
use crate::locks::{Lock, RLock, warn};
use crate::wait;
use procession::Error;
use procession::bindings::{Handle, HandleKind, WaitOutcome, WaitQueue as RawWaitQueue};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::OnceLock;

shared_class!(
    WaitQueue,
    RawWaitQueue,
    HandleKind::WaitQueue,
    "Condition",
    "A queue of waiters, which are notified in order.",
    {
        /// Make the queue.
        fn _make(&self, py: Python<'_>) -> PyResult<()> {
            self.set_inner(wait::briefly(py, RawWaitQueue::new).or_raise(py)?)
        }

        /// Release `lock`, wait to be notified for at most `timeout` seconds, and acquire it again. Return whether
        /// this thread was notified in time.
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

        /// Notify the first `n` waiters, and return how many there were.
        fn _notify(&self, py: Python<'_>, n: i64) -> PyResult<u64> {
            let (inner, n) = (self.inner()?, u64::try_from(n).unwrap_or(0));
            wait::briefly(py, || inner.notify(n)).or_raise(py)
        }

        /// Return the number of waiters.
        fn _waiting(&self) -> PyResult<u64> {
            Ok(self.inner()?.waiting())
        }
    }
);
