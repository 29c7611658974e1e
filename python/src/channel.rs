//! The queue under all of the package's queues.

use crate::carry::{self, Ticket};
use crate::errors::{self, OrRaise};
use crate::message::{self, Encoded, Taken};
use crate::parcel::Parcel;
use crate::wait::{self, patiently};
use crate::watch::Watch;
use procession::door::{self, Deadline, Handle, Received, Sort};
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
pub struct Channel {
    channel: OnceLock<door::Channel>,
    zero_copy: AtomicBool,
    /// This process is done with it.
    closed: AtomicBool,
    /// This process has put something.
    used: AtomicBool,
    watch: Mutex<Option<Watch>>,
    /// Whether there is a watch.
    watched: AtomicBool,
}

impl Channel {
    #[inline]
    pub(crate) fn channel(&self) -> PyResult<&door::Channel> {
        self.channel
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("Queue.__init__() was not called"))
    }

    /// The channel, unless this process has closed the queue.
    #[inline]
    fn open<'a>(slf: &'a Bound<'_, Self>) -> PyResult<&'a door::Channel> {
        let this = slf.get();
        if this.closed.load(Ordering::Relaxed) {
            slf.call_method0("_complain_closed")?;
        }
        this.channel()
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
        let (py, channel) = (slf.py(), Self::open(slf)?);
        slf.get().used.store(true, Ordering::Relaxed);
        message::with_scratch(|buffer| match Self::encode(slf, object, buffer, deadline)? {
            None => Ok(()),
            Some(Encoded::Small) => {
                let full = |answer: &Result<()>| *answer == Err(Error::Full);
                patiently(py, deadline, full, |until| channel.put(buffer, until)).or_raise(py)
            }
            Some(Encoded::Parcel(parcel)) => put_parcel(py, channel, parcel, deadline),
        })
    }

    fn get_until<'py>(slf: &Bound<'py, Self>, deadline: Deadline) -> PyResult<Bound<'py, PyAny>> {
        let (py, channel, this) = (slf.py(), Self::open(slf)?, slf.get());
        message::with_scratch(|buffer| {
            let empty = |answer: &Result<Received>| matches!(answer, Err(Error::Empty));
            if deadline != Deadline::Now {
                wait::for_a_moment(|| channel.shows_message());
            }
            let received = patiently(py, deadline, empty, |until| channel.get(buffer, until));
            let taken = received.map(Taken::from);
            this.look_again(channel);
            message::decode(
                py,
                taken.or_raise(py)?,
                buffer,
                this.zero_copy.load(Ordering::Relaxed),
            )
        })
    }

    #[inline]
    fn look_again(&self, channel: &door::Channel) {
        if self.watched.load(Ordering::Relaxed)
            && let Some(watch) = &*self.watch.lock().unwrap_or_else(PoisonError::into_inner)
        {
            watch.look_again(channel);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        let Some(channel) = self.channel.take() else {
            return;
        };
        // The last reference takes the messages with it.
        if door::awake(|| channel.is_empty()).0 {
            wait::let_go(channel);
        } else {
            wait::let_go_of_much(channel);
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
    fn put(&mut self, py: Python<'_>, channel: &door::Channel, deadline: Deadline) -> PyResult<usize> {
        let mut put = 0;
        let full = |answer: &Result<()>| *answer == Err(Error::Full);
        let answer = patiently(py, deadline, full, |until| {
            let start = if put == 0 { 0 } else { self.ends[put - 1] };
            let rest: Vec<usize> = self.ends[put..].iter().map(|end| end - start).collect();
            let (more, answer) = channel.put_many(&self.bytes[start..], &rest, until);
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
    channel: &door::Channel,
    parcel: Parcel,
    deadline: Deadline,
) -> PyResult<()> {
    let mut given = Some(parcel.into_inner());
    let full = |answer: &Result<()>| *answer == Err(Error::Full);
    let answer = patiently(py, deadline, full, |until| match given.take() {
        None => Ok(()),
        Some(parcel) => channel.put_parcel(parcel, until).map_err(|(error, parcel)| {
            given = Some(parcel);
            error
        }),
    });
    drop(given.map(Parcel::from));
    answer.or_raise(py)
}

#[pymethods]
impl Channel {
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            channel: OnceLock::new(),
            zero_copy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            used: AtomicBool::new(false),
            watch: Mutex::new(None),
            watched: AtomicBool::new(false),
        }
    }

    /// Makes the queue, for at most `capacity` messages (0: any number).
    fn _make(&self, py: Python<'_>, capacity: u64, zero_copy: bool) -> PyResult<()> {
        let channel = wait::briefly(py, || door::Channel::new(capacity)).or_raise(py)?;
        self.zero_copy.store(zero_copy, Ordering::Relaxed);
        self.channel
            .set(channel)
            .map_err(|_| PyRuntimeError::new_err("Queue.__init__() was called twice"))
    }

    /// What stands for this queue in a pickle, and `_redeem` makes the queue of again.
    fn _ticket(&self) -> PyResult<(Ticket, bool)> {
        let ticket = carry::ticket(Handle::from(self.channel()?));
        Ok((ticket, self.zero_copy.load(Ordering::Relaxed)))
    }

    fn _redeem(&self, py: Python<'_>, ticket: Ticket, zero_copy: bool) -> PyResult<()> {
        let channel = carry::redeem(py, &ticket, Sort::Channel)?
            .try_into()
            .map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?;
        self.zero_copy.store(zero_copy, Ordering::Relaxed);
        self.channel
            .set(channel)
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
        let (py, channel) = (slf.py(), Self::open(slf)?);
        let deadline = wait::deadline(block, timeout);
        let mut batch = Batch::default();
        let mut count = 0;
        for object in objs.try_iter()? {
            let encoded = object.and_then(|object| Self::encode(slf, &object, &mut batch.bytes, deadline));
            match encoded {
                Ok(None) => {}
                Ok(Some(Encoded::Small)) => batch.ends.push(batch.bytes.len()),
                Ok(Some(Encoded::Parcel(parcel))) => {
                    count += batch.put(py, channel, deadline)?;
                    put_parcel(py, channel, parcel, deadline)?;
                    count += 1;
                }
                Err(error) => {
                    // Those before it are in the queue.
                    batch.put(py, channel, deadline)?;
                    return Err(error);
                }
            }
            if batch.ends.len() == BATCH {
                count += batch.put(py, channel, deadline)?;
            }
        }
        Ok(count + batch.put(py, channel, deadline)?)
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
        let (py, channel, this) = (slf.py(), Self::open(slf)?, slf.get());
        if most == 0 {
            return Err(PyValueError::new_err(
                "get_many() must be asked for at least one object",
            ));
        }
        let mut buffer = Vec::new();
        let empty = |answer: &Result<Vec<Received>>| matches!(answer, Err(Error::Empty));
        let received = patiently(py, wait::deadline(block, timeout), empty, |until| {
            channel.get_many(&mut buffer, most, until)
        });
        let received = received.map(|messages| messages.into_iter().map(Taken::from).collect());
        this.look_again(channel);
        let zero_copy = this.zero_copy.load(Ordering::Relaxed);
        let (objects, mut at) = (PyList::empty(py), 0);
        let taken: Vec<Taken> = received.or_raise(py)?;
        for message in taken {
            let len = match message {
                Taken::Inline(len) => len,
                Taken::Parcel(_) => 0,
            };
            objects.append(message::decode(py, message, &buffer[at..at + len], zero_copy)?)?;
            at += len;
        }
        Ok(objects)
    }

    /// The number of objects in the queue; where others are at work, old news at once.
    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        let channel = self.channel()?;
        Ok(wait::awake(py, || channel.len()))
    }

    /// Whether a bounded queue has no room.
    fn full(&self) -> PyResult<bool> {
        Ok(self.channel()?.is_full())
    }

    /// Whether there is an object, waiting for one until the time is up.
    fn _poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let channel = self.channel()?;
        self.look_again(channel);
        let deadline = wait::deadline(timeout != Some(0.0), timeout);
        let nothing = |answer: &Result<bool>| *answer == Ok(false);
        patiently(py, deadline, nothing, |until| channel.wait_readable(until)).or_raise(py)?;
        Ok(!wait::awake(py, || channel.is_empty()))
    }

    /// A descriptor of this process that polls readable while there is an object.
    fn _fileno(&self) -> PyResult<i32> {
        let channel = self.channel()?;
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.as_ref().is_none_or(|watch| !watch.is_ours()) {
            *watch = Some(Watch::start(channel)?);
            self.watched.store(true, Ordering::Relaxed);
        }
        let watch = watch.as_ref().expect("it was just made");
        watch.look_again(channel);
        Ok(watch.fd())
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
        let channel = self.channel()?;
        py.detach(|| channel.shutdown(immediate)).or_raise(py)
    }

    fn _watch_consumers(&self) -> PyResult<()> {
        self.channel()?.watch_consumers();
        Ok(())
    }

    fn _task_done(&self, py: Python<'_>) -> PyResult<()> {
        let channel = self.channel()?;
        wait::briefly(py, || channel.task_done()).or_raise(py)
    }

    fn _join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let (channel, deadline) = (self.channel()?, wait::deadline(true, timeout));
        match py.detach(|| channel.join(deadline)) {
            Ok(()) => Ok(true),
            Err(Error::Timeout) => Ok(false),
            Err(error) => Err(errors::from_engine(py, error)),
        }
    }

    /// Whether an object is being put into a queue on this thread, so that queues and locks in it are taken along.
    #[staticmethod]
    fn _is_carrying() -> bool {
        carry::is_carrying()
    }
}
