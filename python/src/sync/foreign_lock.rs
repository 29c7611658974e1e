//! Waiting at a condition whose lock is of another class than ours.

use crate::errors::OrRaise;
use procession::Error;
use procession::bindings::{self, Deadline, Relock, WaitOutcome, WaitQueue as RawWaitQueue};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

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

pub fn wait_foreign(
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
