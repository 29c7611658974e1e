//! Messages through a descriptor, framed as the standard library frames them, so that either side may be its.
//!
//! A message is its length and its bytes. The length is a signed number of four bytes, the most significant first, or -1
//! and an unsigned number of eight bytes where it does not fit. What belongs to one message is written with one call where
//! the system lets it, and read with two: nothing of the next message is taken out of the descriptor.
//!
//! The contents of large messages between the two ends of a pipe may go through shared memory; see [`crate::bypass`].

use crate::buffer;
use crate::bypass::{self, Bypass, Fate};
use crate::errors;
use crate::handles::Collection;
use crate::message;
use crate::parcel::Parcel;
use crate::pickling::{self, Form, Pickled};
use crate::stream::{Stream, Transfer};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyEOFError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The handle of a connection that is closed.
const CLOSED: RawFd = RawFd::MIN;
const NOTHING: *const [u8] = &[];

/// What moves a connection's messages; `connection.Connection` has the rest.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Connection {
    handle: AtomicI32,
    readable: AtomicBool,
    writable: AtomicBool,
    no_socket: AtomicBool,
    /// Whether part of a message was read, and of one written, and the rest will never be.
    read_part: AtomicBool,
    wrote_part: AtomicBool,
    until: Mutex<Option<Instant>>,
    bypass: Mutex<Option<Py<Bypass>>>,
}

/// A message whose length was read.
enum Incoming {
    /// So many bytes follow.
    Stream(usize),
    /// It came through the bypass.
    Parcel(Parcel),
}

/// What is to be written to the descriptor of a message that may go through the bypass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Contents,
    Everything,
}

impl Incoming {
    fn len(&self) -> usize {
        match self {
            Self::Stream(len) => *len,
            Self::Parcel(parcel) => parcel.len(),
        }
    }
}

impl Connection {
    fn bypass(&self, py: Python<'_>) -> Option<Py<Bypass>> {
        let bypass = self.bypass.lock().unwrap_or_else(PoisonError::into_inner);
        bypass.as_ref().map(|bypass| bypass.clone_ref(py))
    }

    fn set_bypass(&self, bypass: Option<Py<Bypass>>) {
        let mut ours = self.bypass.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *ours, bypass);
        // Giving that up may let go of the interpreter: who gets it then may want this.
        drop(ours);
        drop(old);
    }

    fn stream(&self) -> PyResult<Stream<'_>> {
        match self.handle.load(Ordering::Relaxed) {
            CLOSED => Err(PyOSError::new_err("handle is closed")),
            fd => Ok(Stream {
                fd,
                no_socket: &self.no_socket,
                until: *self.until.lock().unwrap_or_else(PoisonError::into_inner),
            }),
        }
    }

    fn to_write(&self) -> PyResult<Stream<'_>> {
        let stream = self.stream()?;
        if !self.writable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is read-only"));
        }
        refuse_part(&self.wrote_part)?;
        Ok(stream)
    }

    fn to_read(&self) -> PyResult<Stream<'_>> {
        let stream = self.stream()?;
        if !self.readable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is write-only"));
        }
        refuse_part(&self.read_part)?;
        Ok(stream)
    }

    /// Writes one message, which consists of `parts`.
    #[allow(unsafe_code)]
    fn write(&self, py: Python<'_>, stream: &Stream<'_>, parts: &[*const [u8]]) -> PyResult<()> {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        let left = self.write_to_bypass(py, stream, parts, len)?;
        if left == Left::Nothing {
            return Ok(());
        }
        let mut head = [0xFF; 12];
        let mut head: *const [u8] = if left == Left::Contents {
            NOTHING
        } else if let Ok(len) = i32::try_from(len) {
            head[..4].copy_from_slice(&len.to_be_bytes());
            &raw const head[..4]
        } else {
            head[4..].copy_from_slice(&(len as u64).to_be_bytes());
            &raw const head[..]
        };
        // With every large part goes the small one before it.
        for (i, pair) in parts.chunks(2).enumerate() {
            let (first, second) = (pair[0], pair.get(1).copied());
            // SAFETY: the caller holds on to the parts (a pickle, or a view of an object) until this returns.
            let mut transfer = unsafe { Transfer::of([head, first, second.unwrap_or(NOTHING)]) };
            if let Err(error) = stream.carry(py, &mut transfer) {
                let begun = left == Left::Contents || i > 0 || transfer.has_begun();
                self.wrote_part.fetch_or(begun, Ordering::Relaxed);
                return Err(error);
            }
            head = NOTHING;
        }
        Ok(())
    }

    /// Writes what can be written through the bypass.
    #[allow(unsafe_code)]
    fn write_to_bypass(
        &self,
        py: Python<'_>,
        stream: &Stream<'_>,
        parts: &[*const [u8]],
        len: usize,
    ) -> PyResult<Left> {
        if !(bypass::MIN..=bypass::MAX).contains(&len) {
            return Ok(Left::Everything);
        }
        let bypass = self.bypass(py);
        let bypass = bypass.as_ref().map(Py::get);
        let Some(bypass) = bypass.filter(|bypass| bypass.is_free(py) && stream.would_wait(len)) else {
            return Ok(Left::Everything);
        };
        // SAFETY: as in `write`, whose parts these are.
        let Some(contents) = (unsafe { bypass::contents(py, parts, len) }) else {
            return Ok(Left::Everything);
        };
        self.refuse_another(stream)?;
        if !bypass.put(py, contents) {
            return Ok(Left::Everything);
        }
        let mut head = [0xFF; 12];
        head[4..].copy_from_slice(&(len as u64).to_be_bytes());
        // SAFETY: the head is borrowed until this returns.
        let mut transfer = unsafe { Transfer::of([&raw const head[..], NOTHING, NOTHING]) };
        let fate = match stream.carry(py, &mut transfer) {
            Ok(()) => bypass.wait_taken(py, stream),
            Err(error) => Err(error),
        };
        match fate {
            Ok(Fate::Taken) => Ok(Left::Nothing),
            Ok(Fate::TakenBack) => {
                self.refuse_another(stream)?;
                Ok(Left::Contents)
            }
            Err(error) => {
                // Where it is not known whether it was taken, nothing more may follow.
                let broken_off = bypass.take_back(py).unwrap_or(true) && transfer.has_begun();
                self.wrote_part.fetch_or(broken_off, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Complains where the connection was closed since `stream` was asked for: its number may be another file's by now.
    fn refuse_another(&self, stream: &Stream<'_>) -> PyResult<()> {
        if self.stream()?.fd == stream.fd {
            return Ok(());
        }
        Err(PyOSError::new_err("handle is closed"))
    }

    /// Begins to read a message: its length, or all of it if it came through the bypass.
    fn begin(slf: &Bound<'_, Self>, stream: &Stream<'_>) -> PyResult<Incoming> {
        let (py, this) = (slf.py(), slf.get());
        let len = i32::from_be_bytes(this.read_array(py, stream, true)?);
        if let Ok(len) = usize::try_from(len) {
            return Ok(Incoming::Stream(len));
        } else if len != -1 {
            return bad_length(slf);
        }
        let len = u64::from_be_bytes(this.read_array(py, stream, false)?);
        let Ok(len) = usize::try_from(len.cast_signed()) else {
            return bad_length(slf);
        };
        let contents = match this.bypass(py) {
            // The message's length was read.
            Some(bypass) => {
                (bypass.get().take(py, len)).inspect_err(|_| this.read_part.store(true, Ordering::Relaxed))?
            }
            None => None,
        };
        Ok(contents.map_or(Incoming::Stream(len), Incoming::Parcel))
    }

    /// Reads so many bytes, which are the first of their message or not.
    #[allow(unsafe_code)]
    fn read_array<const N: usize>(
        &self,
        py: Python<'_>,
        stream: &Stream<'_>,
        first: bool,
    ) -> PyResult<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: borrowed until `read` returns.
        let transfer = unsafe { Transfer::into(bytes.as_mut_ptr(), N) };
        self.read(py, stream, transfer, first)?;
        Ok(bytes)
    }

    /// Reads what `transfer` asks for, which is the `first` of its message or not.
    fn read(&self, py: Python<'_>, stream: &Stream<'_>, mut transfer: Transfer, first: bool) -> PyResult<()> {
        if let Err(error) = stream.carry(py, &mut transfer) {
            let in_the_middle = !first || transfer.has_begun();
            self.read_part.fetch_or(in_the_middle, Ordering::Relaxed);
            return Err(error);
        }
        if transfer.is_whole() {
            Ok(())
        } else if transfer.has_begun() {
            Err(PyOSError::new_err("got end of file during message"))
        } else {
            Err(PyEOFError::new_err(()))
        }
    }

    /// Reads the rest of a message.
    fn finish<'py>(
        &self,
        py: Python<'py>,
        stream: &Stream<'_>,
        incoming: &Incoming,
    ) -> PyResult<Bound<'py, PyAny>> {
        match incoming {
            Incoming::Stream(len) => self.read_body(py, stream, *len),
            Incoming::Parcel(parcel) => buffer::copied(py, parcel, false),
        }
    }

    /// Reads the rest of a message of `len` bytes that comes through the descriptor.
    #[allow(unsafe_code)]
    fn read_body<'py>(
        &self,
        py: Python<'py>,
        stream: &Stream<'_>,
        len: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        // Nothing of it is read where there is no room for it.
        self.read_part.store(true, Ordering::Relaxed);
        let bytes = buffer::filled(py, len, false, |to| {
            self.read_part.store(false, Ordering::Relaxed);
            // SAFETY: borrowed until this returns.
            let transfer = unsafe { Transfer::into(to.as_mut_ptr(), to.len()) };
            self.read(py, stream, transfer, false)
        })?;
        Ok(bytes)
    }
}

/// The pickle in order: small parts and large ones by turns.
fn parts_of(pickled: &Pickled) -> Vec<*const [u8]> {
    let (mut parts, mut at) = (Vec::with_capacity(2 * pickled.lent.len() + 1), 0);
    for (place, view) in &pickled.lent {
        parts.push(&raw const pickled.stream[at..*place]);
        parts.push(std::ptr::slice_from_raw_parts(
            view.buf_ptr().cast::<u8>().cast_const(),
            view.len_bytes(),
        ));
        at = *place;
    }
    parts.push(&raw const pickled.stream[at..]);
    parts
}

/// Complains about a connection whose messages cannot be told apart any more.
fn refuse_part(part: &AtomicBool) -> PyResult<()> {
    if part.load(Ordering::Relaxed) {
        return Err(PyOSError::new_err(
            "an earlier message was broken off in the middle",
        ));
    }
    Ok(())
}

/// Has Python complain about a length that cannot be, and make the connection unreadable.
fn bad_length<T>(slf: &Bound<'_, Connection>) -> PyResult<T> {
    slf.call_method0("_bad_message_length")?;
    Err(PyOSError::new_err("bad message length"))
}

/// A view of contiguous memory.
fn view(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let view = PyUntypedBuffer::get(object)?;
    if view.is_c_contiguous() {
        Ok(view)
    } else if view.item_size() > 1 {
        Err(PyTypeError::new_err("a message's memory must be C-contiguous"))
    } else {
        Err(PyBufferError::new_err("a message's memory must be C-contiguous"))
    }
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            handle: AtomicI32::new(CLOSED),
            readable: AtomicBool::new(true),
            writable: AtomicBool::new(true),
            no_socket: AtomicBool::new(false),
            read_part: AtomicBool::new(false),
            wrote_part: AtomicBool::new(false),
            until: Mutex::new(None),
            bypass: Mutex::new(None),
        }
    }

    /// Pickle `obj` and send it, waiting while there is no room.
    ///
    /// Raises `BrokenPipeError` if nobody can receive it any more.
    fn send(&self, py: Python<'_>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.to_write()?;
        let collection = Collection::for_pipe();
        pickling::dumps(obj, Form::Whole, |pickled| {
            drop(collection);
            // Pickling may have closed it.
            let stream = self.stream()?;
            if pickled.lent.is_empty() {
                return self.write(py, &stream, &[pickled.stream.as_slice()]);
            }
            self.write(py, &stream, &parts_of(pickled))
        })
    }

    /// Receive an object, waiting for one.
    ///
    /// Raises `EOFError` when all has been received and the other side was closed.
    fn recv<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let stream = slf.get().to_read()?;
        match Self::begin(slf, &stream)? {
            Incoming::Stream(len) => pickling::loads(&slf.get().read_body(slf.py(), &stream, len)?),
            Incoming::Parcel(parcel) => pickling::loads(&message::view(slf.py(), &parcel)?),
        }
    }

    /// Send the bytes of `buf`, or `size` of them from `offset` on.
    #[pyo3(signature = (buf, offset = 0, size = None))]
    fn send_bytes(
        &self,
        py: Python<'_>,
        buf: &Bound<'_, PyAny>,
        offset: isize,
        size: Option<isize>,
    ) -> PyResult<()> {
        let stream = self.to_write()?;
        let view = view(buf)?;
        let len = view.len_bytes();
        let refused = |text| Err(PyValueError::new_err(text));
        let Ok(offset) = usize::try_from(offset) else {
            return refused("offset is negative");
        };
        if len < offset {
            return refused("buffer length < offset");
        }
        let size = match size.map(usize::try_from) {
            None => len - offset,
            Some(Err(_)) => return refused("size is negative"),
            Some(Ok(size)) if size > len - offset => return refused("buffer length < offset + size"),
            Some(Ok(size)) => size,
        };
        let start = view.buf_ptr().cast::<u8>().wrapping_add(offset);
        self.write(py, &stream, &[std::ptr::slice_from_raw_parts(start, size)])
    }

    /// Receive a message as bytes, waiting for one.
    ///
    /// One longer than `maxlength` raises `OSError`, and the connection cannot be read any more.
    #[pyo3(signature = (maxlength = None))]
    fn recv_bytes<'py>(slf: &Bound<'py, Self>, maxlength: Option<isize>) -> PyResult<Bound<'py, PyAny>> {
        let stream = slf.get().to_read()?;
        let Ok(most) = maxlength.map(usize::try_from).transpose() else {
            return Err(PyValueError::new_err("negative maxlength"));
        };
        let incoming = Self::begin(slf, &stream)?;
        if most.is_some_and(|most| incoming.len() > most) {
            return bad_length(slf);
        }
        slf.get().finish(slf.py(), &stream, &incoming)
    }

    /// Receive a message into `buf`, from the byte `offset` on; how many bytes it had.
    ///
    /// Raises `BufferTooShort`, with the message in it, where it does not fit.
    #[pyo3(signature = (buf, offset = 0))]
    #[allow(unsafe_code)]
    fn recv_bytes_into(slf: &Bound<'_, Self>, buf: &Bound<'_, PyAny>, offset: isize) -> PyResult<usize> {
        static TOO_SHORT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let (py, stream) = (slf.py(), slf.get().to_read()?);
        let view = view(buf)?;
        if view.readonly() {
            return Err(PyTypeError::new_err(
                "a message cannot be received into read-only memory",
            ));
        }
        let Ok(offset) = usize::try_from(offset) else {
            return Err(PyValueError::new_err("negative offset"));
        };
        let Some(room) = view.len_bytes().checked_sub(offset) else {
            return Err(PyValueError::new_err("offset too large"));
        };
        let incoming = Self::begin(slf, &stream)?;
        let len = incoming.len();
        if len > room {
            let bytes = slf.get().finish(py, &stream, &incoming)?;
            let class = errors::imported(py, &TOO_SHORT, "procession.context", "BufferTooShort")?;
            return Err(PyErr::from_type(class.clone(), (bytes.unbind(),)));
        }
        let start = view.buf_ptr().cast::<u8>().wrapping_add(offset);
        match incoming {
            Incoming::Stream(len) => {
                // SAFETY: within the view, which its exporter keeps in place and lets be written to. A thread that uses the
                // memory meanwhile races with the system's writes, as it would in `socket.recv_into`.
                let transfer = unsafe { Transfer::into(start, len) };
                slf.get().read(py, &stream, transfer, false)?;
            }
            // SAFETY: as above; the parcel is ours, and lies elsewhere.
            Incoming::Parcel(parcel) => unsafe { buffer::copy_lent(py, &raw const parcel[..], start, len) },
        }
        Ok(len)
    }

    /// Whether there is something to receive, or the end, waiting for it for at most `timeout` seconds (`None`: for ever).
    #[pyo3(signature = (timeout = Some(0.0)), text_signature = "($self, timeout=0.0)")]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let stream = self.stream()?;
        if !self.readable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is write-only"));
        }
        stream.wait_readable(py, end_of(timeout))
    }

    /// Lay a bypass between the two ends of a pipe, unless there is no memory for it; one for what `two` sends only, where it
    /// is not `duplex`.
    #[staticmethod]
    fn _join(py: Python<'_>, one: &Bound<'_, Self>, two: &Bound<'_, Self>, duplex: bool) -> PyResult<()> {
        if let Some((to, from)) = Bypass::pair(py, duplex) {
            one.get().set_bypass(Some(Py::new(py, to)?));
            two.get().set_bypass(Some(Py::new(py, from)?));
        }
        Ok(())
    }

    #[getter]
    fn _bypass(&self, py: Python<'_>) -> Option<Py<Bypass>> {
        self.bypass(py)
    }

    #[setter(_bypass)]
    fn replace_bypass(&self, bypass: Option<Py<Bypass>>) {
        self.set_bypass(bypass);
    }

    /// Have sending and receiving end with `TimeoutError` when so many seconds have passed (`None`: never). For sockets.
    fn _limit(&self, timeout: Option<f64>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = end_of(timeout);
    }

    #[getter]
    fn _handle(&self) -> Option<RawFd> {
        Some(self.handle.load(Ordering::Relaxed)).filter(|&handle| handle != CLOSED)
    }

    #[setter(_handle)]
    fn set_handle(&self, handle: Option<RawFd>) {
        self.handle.store(handle.unwrap_or(CLOSED), Ordering::Relaxed);
        // It led to the other end of another descriptor.
        self.set_bypass(None);
    }

    #[getter]
    fn _readable(&self) -> bool {
        self.readable.load(Ordering::Relaxed)
    }

    #[setter(_readable)]
    fn set_readable(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.readable.store(value.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }

    #[getter]
    fn _writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    #[setter(_writable)]
    fn set_writable(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.writable.store(value.is_truthy()?, Ordering::Relaxed);
        Ok(())
    }
}

/// When so many seconds will have passed; `None` for more than anybody lives.
fn end_of(timeout: Option<f64>) -> Option<Instant> {
    let span = Duration::try_from_secs_f64(timeout?.max(0.0)).ok()?;
    Instant::now().checked_add(span)
}
