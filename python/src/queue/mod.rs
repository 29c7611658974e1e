//! The class under `Queue`, `JoinableQueue` and `SimpleQueue`.

mod many;
mod state;

pub use state::{Queue, put_parcel};

use crate::errors::{self, OrRaise};
use crate::handles::{self, HandleRef};
use crate::message::{self, Encoded};
use crate::pollable_fd::PollableFd;
use crate::wait::{self, patiently};
use procession::Error;
use procession::bindings::{self, Deadline, Handle, HandleKind, Scratch};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

#[pymethods]
impl Queue {
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            queue: OnceLock::new(),
            zero_copy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            used: AtomicBool::new(false),
            pollable_fd: Mutex::new(None),
            has_pollable_fd: AtomicBool::new(false),
        }
    }

    /// Make the queue, for at most `capacity` messages (0: any number).
    fn _make(&self, py: Python<'_>, capacity: u64, zero_copy: bool) -> PyResult<()> {
        let queue = wait::briefly(py, || bindings::RawQueue::new(capacity)).or_raise(py)?;
        self.zero_copy.store(zero_copy, Ordering::Relaxed);
        self.queue
            .set(queue)
            .map_err(|_| PyRuntimeError::new_err("Queue.__init__() was called twice"))
    }

    /// Return what represents this queue in a pickle: the arguments of `_resolve`.
    fn _handle_ref(&self) -> PyResult<(HandleRef, bool)> {
        let handle_ref = handles::reference_to(Handle::from(self.queue()?));
        Ok((handle_ref, self.zero_copy.load(Ordering::Relaxed)))
    }

    /// Make this the queue that a handle reference stands for.
    fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef, zero_copy: bool) -> PyResult<()> {
        let queue = handles::resolve(py, &handle_ref, HandleKind::RawQueue)?
            .try_into()
            .map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?;
        self.zero_copy.store(zero_copy, Ordering::Relaxed);
        self.queue.set(queue).map_err(|_| {
            PyRuntimeError::new_err("Queue._resolve() was called on a queue that has been made already")
        })
    }

    /// Put `obj` at the end, waiting while the queue is full (unless `block` is false) for at most `timeout` seconds.
    ///
    /// Raises `queue.Full` if there is no room in time. When `put` returns, the object is in shared memory and
    /// outlives this process.
    #[pyo3(signature = (obj, block = true, timeout = None))]
    fn put(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>, block: bool, timeout: Option<f64>) -> PyResult<()> {
        let (py, deadline) = (slf.py(), wait::deadline(block, timeout));
        let queue = Self::open(slf)?;
        slf.get().used.store(true, Ordering::Relaxed);
        let mut buffer = Scratch::take();
        match Self::encode(slf, obj, &mut buffer, deadline)? {
            None => Ok(()),
            Some(Encoded::Small) => patiently(py, deadline, |until| queue.put(&buffer, until)).or_raise(py),
            Some(Encoded::Parcel(parcel)) => put_parcel(py, queue, parcel, deadline),
        }
    }

    /// Put `obj` at the end without waiting, as `put(obj, False)` does.
    fn put_nowait(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.call_method1("put", (obj, false)).map(drop)
    }

    /// Take the next object, waiting for one (unless `block` is false) for at most `timeout` seconds.
    ///
    /// Raises `queue.Empty` if there is none in time.
    #[pyo3(signature = (block = true, timeout = None))]
    fn get<'py>(slf: &Bound<'py, Self>, block: bool, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let (py, deadline) = (slf.py(), wait::deadline(block, timeout));
        let (queue, this) = (Self::open(slf)?, slf.get());
        let mut buffer = Scratch::take();
        if deadline != Deadline::Now {
            wait::for_a_moment(|| queue.may_have_message());
        }
        let received = patiently(py, deadline, |until| queue.get(&mut buffer, until));
        this.refresh(queue);
        message::decode(
            py,
            received.or_raise(py)?,
            &buffer,
            this.zero_copy.load(Ordering::Relaxed),
        )
    }

    /// Take the next object without waiting, as `get(False)` does.
    fn get_nowait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.call_method1("get", (false,))
    }

    /// Put every object of an iterable, in order, and return how many were put. Small objects are put many at a time,
    /// which costs less than one `put` each. Other producers' objects may come between them.
    ///
    /// Raises `queue.Full` if that takes more than `timeout` seconds. Then the first objects are in the queue.
    #[pyo3(signature = (objs, block = true, timeout = None))]
    fn put_many(
        slf: &Bound<'_, Self>,
        objs: &Bound<'_, PyAny>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        many::put(slf, objs, wait::deadline(block, timeout))
    }

    /// Wait for the first object as `get` does, then take those that are there in one step: up to `most` objects, and
    /// at most 256.
    ///
    /// If an object cannot be unpickled, its error is raised. All the objects that were taken in this call are lost
    /// then.
    #[pyo3(signature = (most, block = true, timeout = None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        most: usize,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        many::get(slf, most, wait::deadline(block, timeout))
    }

    /// Return the number of objects in the queue. With concurrent producers or consumers the value may be out of date.
    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        let queue = self.queue()?;
        Ok(wait::awake(py, || queue.len()))
    }

    /// Return whether the queue is bounded and has no room.
    fn full(&self) -> PyResult<bool> {
        Ok(self.queue()?.is_full())
    }

    /// Wait for an object for at most `timeout` seconds, and return whether there is one.
    fn _poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let queue = self.queue()?;
        self.refresh(queue);
        let deadline = wait::deadline(timeout != Some(0.0), timeout);
        let waited = patiently(py, deadline, |until| {
            queue.wait_readable(until)?.then_some(()).ok_or(Error::Empty)
        });
        match waited {
            Ok(()) | Err(Error::Empty) => {}
            Err(error) => return Err(errors::from_engine(py, error)),
        }
        Ok(!wait::awake(py, || queue.is_empty()))
    }

    /// Return a descriptor of this process that polls readable while there is an object.
    fn _fileno(&self) -> PyResult<i32> {
        let queue = self.queue()?;
        let mut pollable_fd = self.pollable_fd.lock().unwrap_or_else(PoisonError::into_inner);
        if pollable_fd
            .as_ref()
            .is_none_or(|pollable_fd| !pollable_fd.is_ours())
        {
            *pollable_fd = Some(PollableFd::start(queue)?);
            self.has_pollable_fd.store(true, Ordering::Relaxed);
        }
        let pollable_fd = pollable_fd.as_ref().expect("it was just made");
        pollable_fd.refresh(queue);
        Ok(pollable_fd.fd())
    }

    /// True if this process has closed the queue.
    #[getter]
    fn _closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// True if this process has put an object.
    #[getter]
    fn _used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Shut the queue down for every process, as `queue.Queue.shutdown` does: from now on `put` raises `ShutDown`, and
    /// `get` does when the queue is empty. With `immediate` the queue is emptied at once. Calls that wait end, too.
    #[pyo3(signature = (immediate = false))]
    fn shutdown(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        let queue = self.queue()?;
        py.detach(|| queue.shutdown(immediate)).or_raise(py)
    }

    /// Make `_join` raise `ConsumerDied` if a consumer dies before `_task_done`.
    fn _track_consumers(&self) -> PyResult<()> {
        self.queue()?.track_consumers();
        Ok(())
    }

    /// Say that the work on an object is done.
    fn _task_done(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue()?;
        wait::briefly(py, || queue.task_done()).or_raise(py)
    }

    /// Wait until `_task_done` was called for every object, for at most `timeout` seconds. Return whether it was.
    fn _join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (queue, deadline) = (self.queue()?, wait::deadline(true, timeout));
        match py.detach(|| queue.join(deadline)) {
            Ok(()) => Ok(true),
            Err(Error::Timeout) => Ok(false),
            Err(error) => Err(errors::from_engine(py, error)),
        }
    }

    /// Return whether this thread is encoding an object, so that the queues and locks in it may be pickled.
    #[staticmethod]
    fn _is_carrying() -> bool {
        handles::is_carrying()
    }
}
