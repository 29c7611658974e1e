//! A queue, and what its methods have in common.

use crate::errors::OrRaise;
use crate::message::{self, Encoded};
use crate::parcel::Parcel;
use crate::pollable_fd::PollableFd;
use crate::wait::{self, patiently};
use procession::bindings::{self, Deadline};
use pyo3::exceptions::{PyException, PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A queue of objects in shared memory: the common part of `Queue`, `JoinableQueue` and `SimpleQueue`.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Queue {
    pub(super) queue: OnceLock<bindings::RawQueue>,
    /// Whether large buffers arrive as views of shared memory.
    pub(super) zero_copy: AtomicBool,
    /// Whether this process has closed the queue.
    pub(super) closed: AtomicBool,
    /// Whether this process has put an object.
    pub(super) used: AtomicBool,
    pub(super) pollable_fd: Mutex<Option<PollableFd>>,
    /// Whether there is a pollable descriptor.
    pub(super) has_pollable_fd: AtomicBool,
}

impl Queue {
    /// Returns the engine's queue, also if this process has closed it.
    #[inline]
    pub(crate) fn queue(&self) -> PyResult<&bindings::RawQueue> {
        self.queue
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("Queue.__init__() was not called"))
    }

    /// Returns the engine's queue. Raises if this process has closed it.
    #[inline]
    pub(crate) fn open<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a bindings::RawQueue> {
        let this = slf.get();
        if this.closed.load(Ordering::Relaxed) {
            slf.call_method0("_complain_closed")?;
        }
        this.queue()
    }

    /// Encodes `object`: appends its message to `out`, or makes a parcel. Returns `None` if the object cannot be
    /// pickled and that was reported.
    pub(super) fn encode(
        slf: &Bound<'_, Self>,
        object: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        deadline: Deadline,
    ) -> PyResult<Option<Encoded>> {
        match message::encode(object, out, deadline) {
            Ok(encoded) => encoded.map(Some),
            // The standard library's feeder thread reports such errors. But that there is no memory concerns the
            // caller.
            Err(error) if is_about_the_object(object.py(), &error) => {
                slf.call_method1("_encoding_failed", (error, object))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Updates the pollable descriptor after a message was taken or none was found.
    #[inline]
    pub(super) fn refresh(&self, queue: &bindings::RawQueue) {
        if self.has_pollable_fd.load(Ordering::Relaxed)
            && let Some(pollable_fd) = &*self.pollable_fd.lock().unwrap_or_else(PoisonError::into_inner)
        {
            pollable_fd.refresh(queue);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else {
            return;
        };
        // The last reference frees the messages, too.
        if bindings::awake(|| queue.is_empty()).0 {
            wait::let_go(queue);
        } else {
            wait::let_go_of_much(queue);
        }
    }
}

/// Returns whether an error of pickling is about the object: neither that there is no memory, nor `KeyboardInterrupt`
/// and the like.
fn is_about_the_object(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py)
}

/// Puts a parcel. Drops it if that fails.
pub fn put_parcel(
    py: Python<'_>,
    queue: &bindings::RawQueue,
    parcel: Parcel,
    deadline: Deadline,
) -> PyResult<()> {
    let mut given = Some(parcel.into_inner());
    let answer = patiently(py, deadline, |until| match given.take() {
        None => Ok(()),
        Some(parcel) => queue.put_parcel(parcel, until).map_err(|(error, parcel)| {
            given = Some(parcel);
            error
        }),
    });
    drop(given.map(Parcel::from));
    answer.or_raise(py)
}
