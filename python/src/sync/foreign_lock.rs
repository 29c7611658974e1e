//! Waiting at a condition whose lock is not one of this package's.

use crate::errors::OrRaise;
use procession::Error;
use procession::bindings::{self, Deadline, Relock, WaitOutcome, WaitQueue as RawWaitQueue};
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// How many times in a row a foreign lock may raise an exception instead of being acquired.
const ATTEMPTS: u32 = 100;

/// A lock that is not one of this package's, with the methods that the standard library's locks have.
struct Foreign<'l> {
    lock: &'l Py<PyAny>,
    /// The exception that was raised while it was released or acquired again.
    raised: Mutex<Option<PyErr>>,
}

impl Foreign<'_> {
    /// Keeps an exception, to be raised when the wait is over.
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
                // An exception of a signal handler is raised after the lock is acquired. A lock that raises again and
                // again cannot be acquired.
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

/// Waits in `queue` while `lock` is released. Returns how that ended, and which process died holding the lock.
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
