//! The queue under all of the package's queues.

use crate::errors::{self, OrRaise};
use crate::handles::{self, HandleRef};
use crate::message::{self, Encoded, ReceivedMessage};
use crate::parcel::Parcel;
use crate::pollable_fd::PollableFd;
use crate::wait::{self, patiently};
use procession::bindings::{self, Deadline, Handle, HandleKind, Received};
use procession::{Error, Result};
use pyo3::exceptions::{PyException, PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Messages put at a time by `put_many`.
const BATCH: usize = 256;

/// A queue of objects in shared memory: what `Queue`, `JoinableQueue` and `SimpleQueue` have in common.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Queue {
    queue: OnceLock<bindings::RawQueue>,
    zero_copy: AtomicBool,
    /// This process is done with it.
    closed: AtomicBool,
    /// This process has put something.
    used: AtomicBool,
    pollable_fd: Mutex<Option<PollableFd>>,
    /// Whether there is a watch.
    has_pollable_fd: AtomicBool,
}

impl Queue {
    #[inline]
    pub(crate) fn queue(&self) -> PyResult<&bindings::RawQueue> {
        self.queue
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("Queue.__init__() was not called"))
    }

    /// The channel, unless this process has closed the queue.
    #[inline]
    pub(crate) fn open<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a bindings::RawQueue> {
        let this = slf.get();
        if this.closed.load(Ordering::Relaxed) {
            slf.call_method0("_complain_closed")?;
        }
        this.queue()
    }

    /// The message of `object`; `None` if it has none, and that was dealt with.
    fn encode(
        slf: &Bound<'_, Self>,
        object: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        deadline: Deadline,
    ) -> PyResult<Option<Encoded>> {
        match message::encode(object, out, deadline) {
            Ok(encoded) => encoded.map(Some),
            // The standard library's feeder thread survives these. That there is no memory is for the caller to know.
            Err(error) if is_about_the_object(object.py(), &error) => {
                slf.call_method1("_encoding_failed", (error, object))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn put_until(slf: &Bound<'_, Self>, object: &Bound<'_, PyAny>, deadline: Deadline) -> PyResult<()> {
        let (py, queue) = (slf.py(), Self::open(slf)?);
        slf.get().used.store(true, Ordering::Relaxed);
        message::with_scratch(|buffer| match Self::encode(slf, object, buffer, deadline)? {
            None => Ok(()),
            Some(Encoded::Small) => {
                let full = |answer: &Result<()>| *answer == Err(Error::Full);
                patiently(py, deadline, full, |until| queue.put(buffer, until)).or_raise(py)
            }
            Some(Encoded::Parcel(parcel)) => put_parcel(py, queue, parcel, deadline),
        })
    }

    fn get_until<'py>(slf: &Bound<'py, Self>, deadline: Deadline) -> PyResult<Bound<'py, PyAny>> {
        let (py, queue, this) = (slf.py(), Self::open(slf)?, slf.get());
        message::with_scratch(|buffer| {
            let empty = |answer: &Result<Received>| matches!(answer, Err(Error::Empty));
            if deadline != Deadline::Now {
                wait::for_a_moment(|| queue.may_have_message());
            }
            let received = patiently(py, deadline, empty, |until| queue.get(buffer, until));
            let taken = received.map(ReceivedMessage::from);
            this.refresh(queue);
            message::decode(
                py,
                taken.or_raise(py)?,
                buffer,
                this.zero_copy.load(Ordering::Relaxed),
            )
        })
    }

    #[inline]
    fn refresh(&self, queue: &bindings::RawQueue) {
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
        // The last reference takes the messages with it.
        if bindings::awake(|| queue.is_empty()).0 {
            wait::let_go(queue);
        } else {
            wait::let_go_of_much(queue);
        }
    }
}

fn is_about_the_object(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py)
}

/// Small messages on their way into the queue together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Puts them all; how many they were.
    fn put(&mut self, py: Python<'_>, queue: &bindings::RawQueue, deadline: Deadline) -> PyResult<usize> {
        let mut put = 0;
        let full = |answer: &Result<()>| *answer == Err(Error::Full);
        let answer = patiently(py, deadline, full, |until| {
            let start = if put == 0 { 0 } else { self.ends[put - 1] };
            let rest: Vec<usize> = self.ends[put..].iter().map(|end| end - start).collect();
            let (more, answer) = queue.put_many(&self.bytes[start..], &rest, until);
            put += more;
            answer
        });
        self.bytes.clear();
        self.ends.clear();
        answer.or_raise(py).map(|()| put)
    }
}

/// Puts a parcel, or drops it.
pub fn put_parcel(
    py: Python<'_>,
    queue: &bindings::RawQueue,
    parcel: Parcel,
    deadline: Deadline,
) -> PyResult<()> {
    let mut given = Some(parcel.into_inner());
    let full = |answer: &Result<()>| *answer == Err(Error::Full);
    let answer = patiently(py, deadline, full, |until| match given.take() {
        None => Ok(()),
        Some(parcel) => queue.put_parcel(parcel, until).map_err(|(error, parcel)| {
            given = Some(parcel);
            error
        }),
    });
    drop(given.map(Parcel::from));
    answer.or_raise(py)
}

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

    /// Makes the queue, for at most `capacity` messages (0: any number).
    fn _make(&self, py: Python<'_>, capacity: u64, zero_copy: bool) -> PyResult<()> {
        let queue = wait::briefly(py, || bindings::RawQueue::new(capacity)).or_raise(py)?;
        self.zero_copy.store(zero_copy, Ordering::Relaxed);
        self.queue
            .set(queue)
            .map_err(|_| PyRuntimeError::new_err("Queue.__init__() was called twice"))
    }

    /// What stands for this queue in a pickle, and `_resolve` makes the queue of again.
    fn _handle_ref(&self) -> PyResult<(HandleRef, bool)> {
        let handle_ref = handles::reference_to(Handle::from(self.queue()?));
        Ok((handle_ref, self.zero_copy.load(Ordering::Relaxed)))
    }

    fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef, zero_copy: bool) -> PyResult<()> {
        let queue = handles::resolve(py, &handle_ref, HandleKind::RawQueue)?
            .try_into()
            .map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?;
        self.zero_copy.store(zero_copy, Ordering::Relaxed);
        self.queue
            .set(queue)
            .map_err(|_| PyRuntimeError::new_err("this queue is another one already"))
    }

    /// Put `obj` at the end, waiting while the queue is full (unless `block` is false) for at most `timeout` seconds.
    ///
    /// Raises `queue.Full`. When it returns, the object is in shared memory and outlives this process.
    #[pyo3(signature = (obj, block = true, timeout = None))]
    fn put(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>, block: bool, timeout: Option<f64>) -> PyResult<()> {
        Self::put_until(slf, obj, wait::deadline(block, timeout))
    }

    /// The same as `put(obj, False)`.
    fn put_nowait(slf: &Bound<'_, Self>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        slf.call_method1("put", (obj, false)).map(drop)
    }

    /// Take the next object, waiting for one (unless `block` is false) for at most `timeout` seconds.
    ///
    /// Raises `queue.Empty`.
    #[pyo3(signature = (block = true, timeout = None))]
    fn get<'py>(slf: &Bound<'py, Self>, block: bool, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        Self::get_until(slf, wait::deadline(block, timeout))
    }

    /// The same as `get(False)`.
    fn get_nowait<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.call_method1("get", (false,))
    }

    /// Put every object of an iterable, in order; small ones many at a time, which costs less than one `put` each. Other
    /// producers' objects may come between. Answers how many were put.
    ///
    /// Raises `queue.Full` if that takes more than `timeout` seconds; those before are in the queue then.
    #[pyo3(signature = (objs, block = true, timeout = None))]
    fn put_many(
        slf: &Bound<'_, Self>,
        objs: &Bound<'_, PyAny>,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        let (py, queue) = (slf.py(), Self::open(slf)?);
        let deadline = wait::deadline(block, timeout);
        let mut batch = Batch::default();
        let mut count = 0;
        for object in objs.try_iter()? {
            let encoded = object.and_then(|object| Self::encode(slf, &object, &mut batch.bytes, deadline));
            match encoded {
                Ok(None) => {}
                Ok(Some(Encoded::Small)) => batch.ends.push(batch.bytes.len()),
                Ok(Some(Encoded::Parcel(parcel))) => {
                    count += batch.put(py, queue, deadline)?;
                    put_parcel(py, queue, parcel, deadline)?;
                    count += 1;
                }
                Err(error) => {
                    // Those before it are in the queue.
                    batch.put(py, queue, deadline)?;
                    return Err(error);
                }
            }
            if batch.ends.len() == BATCH {
                count += batch.put(py, queue, deadline)?;
            }
        }
        Ok(count + batch.put(py, queue, deadline)?)
    }

    /// Wait for the first object as `get` does, then take what is there in one step: up to `most` objects, and up to 256.
    ///
    /// An object that cannot be unpickled is lost with the others that were taken after it, and its error is raised.
    #[pyo3(signature = (most, block = true, timeout = None))]
    fn get_many<'py>(
        slf: &Bound<'py, Self>,
        most: usize,
        block: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (py, queue, this) = (slf.py(), Self::open(slf)?, slf.get());
        if most == 0 {
            return Err(PyValueError::new_err(
                "get_many() must be asked for at least one object",
            ));
        }
        let mut buffer = Vec::new();
        let empty = |answer: &Result<Vec<Received>>| matches!(answer, Err(Error::Empty));
        let received = patiently(py, wait::deadline(block, timeout), empty, |until| {
            queue.get_many(&mut buffer, most, until)
        });
        let received = received.map(|messages| messages.into_iter().map(ReceivedMessage::from).collect());
        this.refresh(queue);
        let zero_copy = this.zero_copy.load(Ordering::Relaxed);
        let (objects, mut at) = (PyList::empty(py), 0);
        let taken: Vec<ReceivedMessage> = received.or_raise(py)?;
        for message in taken {
            let len = match message {
                ReceivedMessage::Inline(len) => len,
                ReceivedMessage::Parcel(_) => 0,
            };
            objects.append(message::decode(py, message, &buffer[at..at + len], zero_copy)?)?;
            at += len;
        }
        Ok(objects)
    }

    /// The number of objects in the queue; where others are at work, old news at once.
    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        let queue = self.queue()?;
        Ok(wait::awake(py, || queue.len()))
    }

    /// Whether a bounded queue has no room.
    fn full(&self) -> PyResult<bool> {
        Ok(self.queue()?.is_full())
    }

    /// Whether there is an object, waiting for one until the time is up.
    fn _poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let queue = self.queue()?;
        self.refresh(queue);
        let deadline = wait::deadline(timeout != Some(0.0), timeout);
        let nothing = |answer: &Result<bool>| *answer == Ok(false);
        patiently(py, deadline, nothing, |until| queue.wait_readable(until)).or_raise(py)?;
        Ok(!wait::awake(py, || queue.is_empty()))
    }

    /// A descriptor of this process that polls readable while there is an object.
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

    /// Whether this process has closed the queue.
    #[getter]
    fn _closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether this process has put anything.
    #[getter]
    fn _used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    #[setter(_closed)]
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Let no more objects in, for every process and for good: `put` raises `ShutDown`. `get` gives what is left (nothing,
    /// where `immediate`) and raises `ShutDown` then. As for `queue.Queue`; waiting calls end too.
    #[pyo3(signature = (immediate = false))]
    fn shutdown(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        let queue = self.queue()?;
        py.detach(|| queue.shutdown(immediate)).or_raise(py)
    }

    fn _track_consumers(&self) -> PyResult<()> {
        self.queue()?.track_consumers();
        Ok(())
    }

    fn _task_done(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue()?;
        wait::briefly(py, || queue.task_done()).or_raise(py)
    }

    fn _join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (queue, deadline) = (self.queue()?, wait::deadline(true, timeout));
        match py.detach(|| queue.join(deadline)) {
            Ok(()) => Ok(true),
            Err(Error::Timeout) => Ok(false),
            Err(error) => Err(errors::from_engine(py, error)),
        }
    }

    /// Whether an object is being put into a queue on this thread, so that queues and locks in it are taken along.
    #[staticmethod]
    fn _is_carrying() -> bool {
        handles::is_carrying()
    }
}
