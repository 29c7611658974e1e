//! Messages through a descriptor, in the standard library's frames, so that the other side may be the standard library.
//!
//! A message is its length and its bytes:
//!
//! | length | bytes before the message, the most significant first |
//! | --- | --- |
//! | fits in a signed number of four bytes | that number |
//! | larger, or the contents are in the bypass | -1 in four bytes, then an unsigned number of eight bytes |
//!
//! A message is written with one system call if the system takes all of it, and is read with two. No bytes of the next
//! message are taken out of the descriptor. The contents of a large message between the two ends of a pipe may go
//! through shared memory; see [`crate::bypass`].

mod arguments;
mod read;
mod state;
mod write;

pub use state::Connection;

use crate::buffer;
use crate::bypass::Bypass;
use crate::errors;
use crate::handles::Collection;
use crate::message;
use crate::pickling::{self, Form};
use crate::stream::Transfer;
use arguments::{end_of, view};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};
use read::{Incoming, bad_length};
use state::CLOSED;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use write::parts_of;

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
    /// Raises `BrokenPipeError` if no process can receive it any more.
    fn send(&self, py: Python<'_>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.to_write()?;
        let collection = Collection::for_pipe();
        pickling::dumps(obj, Form::Whole, |pickled| {
            drop(collection);
            // Pickling runs code that may have closed the connection.
            let stream = self.stream()?;
            if pickled.lent.is_empty() {
                return self.write(py, &stream, &[pickled.stream.as_slice()]);
            }
            self.write(py, &stream, &parts_of(pickled))
        })
    }

    /// Wait for an object, and receive it.
    ///
    /// Raises `EOFError` when all objects have been received and the other side is closed.
    fn recv<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let stream = slf.get().to_read()?;
        match Self::begin(slf, &stream)? {
            Incoming::Stream(len) => pickling::loads(&slf.get().read_body(slf.py(), &stream, len)?),
            Incoming::Parcel(parcel) => pickling::loads(&message::view(slf.py(), &parcel)?),
        }
    }

    /// Send the bytes of `buf`, or `size` of them from `offset` on, as one message.
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

    /// Wait for a message, and receive its bytes.
    ///
    /// If it is longer than `maxlength`, this raises `OSError`, and the connection cannot be read any more.
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

    /// Wait for a message, and receive its bytes into `buf` from the byte `offset` on. Return their number.
    ///
    /// If they do not fit, this raises `BufferTooShort`, which has the message.
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
                // SAFETY: the bytes lie within the view, whose exporter keeps them in place and allows writing. A
                // thread that uses the memory meanwhile races with the system's writes, as it would in
                // `socket.recv_into`.
                let transfer = unsafe { Transfer::into(start, len) };
                slf.get().read(py, &stream, transfer, false)?;
            }
            // SAFETY: as above. The parcel belongs to this call, and does not overlap the view.
            Incoming::Parcel(parcel) => unsafe { buffer::copy_lent(py, &raw const parcel[..], start, len) },
        }
        Ok(len)
    }

    /// Wait for a message, or the end, for at most `timeout` seconds (`None`: for ever). Return whether there is one.
    #[pyo3(signature = (timeout = Some(0.0)), text_signature = "($self, timeout=0.0)")]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let stream = self.stream()?;
        if !self.readable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is write-only"));
        }
        stream.wait_readable(py, end_of(timeout))
    }

    /// Lay a bypass between the two ends of a pipe, unless there is no memory for it. If the pipe is not `duplex`, the
    /// bypass is only for what `two` sends.
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

    /// Let sending and receiving end with `TimeoutError` after `timeout` seconds (`None`: never). For sockets.
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
        // The bypass belongs to the old descriptor.
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
