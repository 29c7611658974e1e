//! Waiting for several queues, events and descriptors at once.

use crate::errors::OrRaise;
use crate::queue::Queue;
use crate::sync::Event;
use crate::wait;
use procession::bindings::{self, RawQueue, Waitable};
use procession::{Error, Event as EngineEvent};
use pyo3::prelude::*;
use std::os::fd::{BorrowedFd, RawFd};

/// One of the things that a call waits for.
enum Thing {
    Queue(RawQueue),
    Event(EngineEvent),
    Descriptor(BorrowedFd<'static>),
}

impl Thing {
    /// Takes a queue, an event or a descriptor.
    #[allow(unsafe_code)]
    fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(queue) = object.cast::<Queue>() {
            return Ok(Self::Queue(queue.get().queue()?.clone()));
        }
        if let Ok(event) = object.cast::<Event>() {
            return Ok(Self::Event(event.get().inner()?.clone()));
        }
        let fd: RawFd = object.extract()?;
        if fd < 0 {
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "Invalid file descriptor: {fd}"
            )));
        }
        // SAFETY: the descriptor is not -1. The caller keeps the object that owns it. If another thread closes it
        // meanwhile, the wait is for the file that has its number then, or ends with an error, as in the system's own
        // calls.
        Ok(Self::Descriptor(unsafe { BorrowedFd::borrow_raw(fd) }))
    }

    /// Returns the thing as the engine waits for it.
    fn waitable(&self) -> &dyn Waitable {
        match self {
            Self::Queue(queue) => queue,
            Self::Event(event) => event,
            Self::Descriptor(fd) => fd,
        }
    }
}

/// All the things that a call waits for. When the wait is over, these may be the last handles to them.
struct Things(Vec<Thing>);

impl Drop for Things {
    fn drop(&mut self) {
        wait::let_go(std::mem::take(&mut self.0));
    }
}

/// Wait until one of `things` (queues, events, descriptors) is ready, for at most `timeout` seconds.
///
/// Return the positions of those that are ready.
#[pyfunction]
#[pyo3(signature = (things, timeout))]
pub fn wait_for_any(
    py: Python<'_>,
    things: Vec<Bound<'_, PyAny>>,
    timeout: Option<f64>,
) -> PyResult<Vec<usize>> {
    let mut taken = Things(Vec::with_capacity(things.len()));
    for thing in &things {
        taken.0.push(Thing::of(thing)?);
    }
    let deadline = wait::deadline(true, timeout);
    let ready = wait::patiently(py, deadline, |until| {
        let list: Vec<&dyn Waitable> = taken.0.iter().map(Thing::waitable).collect();
        let ready = bindings::wait_until(&list, until)?;
        if ready.is_empty() {
            return Err(Error::Empty);
        }
        Ok(ready)
    });
    match ready {
        Err(Error::Empty) => Ok(Vec::new()),
        ready => ready.or_raise(py),
    }
}
