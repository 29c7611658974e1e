//! A connection, and what its methods have in common.

use crate::bypass::Bypass;
use crate::stream::Stream;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The handle of a closed connection.
pub(super) const CLOSED: RawFd = RawFd::MIN;
/// A part of a message without bytes.
pub(super) const NOTHING: *const [u8] = &[];

/// The part of `connection.Connection` that moves messages.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Connection {
    pub(super) handle: AtomicI32,
    pub(super) readable: AtomicBool,
    pub(super) writable: AtomicBool,
    /// A hint: see [`Stream`].
    pub(super) no_socket: AtomicBool,
    /// Whether a message was read in part, and the rest will never be read.
    pub(super) read_part: AtomicBool,
    /// Whether a message was written in part, and the rest will never be written.
    pub(super) wrote_part: AtomicBool,
    /// The time at which sending and receiving end with `TimeoutError`.
    pub(super) until: Mutex<Option<Instant>>,
    pub(super) bypass: Mutex<Option<Py<Bypass>>>,
}

impl Connection {
    /// Returns this end of the bypass, if there is one.
    pub(super) fn bypass(&self, py: Python<'_>) -> Option<Py<Bypass>> {
        let bypass = self.bypass.lock().unwrap_or_else(PoisonError::into_inner);
        bypass.as_ref().map(|bypass| bypass.clone_ref(py))
    }

    /// Replaces the bypass.
    pub(super) fn set_bypass(&self, bypass: Option<Py<Bypass>>) {
        let mut ours = self.bypass.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *ours, bypass);
        // Unlocked first: dropping the old one may release the interpreter, and the thread that gets it may need this
        // lock.
        drop(ours);
        drop(old);
    }

    /// Returns the open descriptor.
    pub(super) fn stream(&self) -> PyResult<Stream<'_>> {
        match self.handle.load(Ordering::Relaxed) {
            CLOSED => Err(PyOSError::new_err("handle is closed")),
            fd => Ok(Stream {
                fd,
                no_socket: &self.no_socket,
                until: *self.until.lock().unwrap_or_else(PoisonError::into_inner),
            }),
        }
    }

    /// Returns the descriptor to write a message to.
    pub(super) fn to_write(&self) -> PyResult<Stream<'_>> {
        let stream = self.stream()?;
        if !self.writable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is read-only"));
        }
        refuse_part(&self.wrote_part)?;
        Ok(stream)
    }

    /// Returns the descriptor to read a message from.
    pub(super) fn to_read(&self) -> PyResult<Stream<'_>> {
        let stream = self.stream()?;
        if !self.readable.load(Ordering::Relaxed) {
            return Err(PyOSError::new_err("connection is write-only"));
        }
        refuse_part(&self.read_part)?;
        Ok(stream)
    }
}

/// Raises if a message was broken off, because then the next one cannot be found in the stream.
fn refuse_part(part: &AtomicBool) -> PyResult<()> {
    if part.load(Ordering::Relaxed) {
        return Err(PyOSError::new_err(
            "an earlier message was broken off in the middle: open a new connection",
        ));
    }
    Ok(())
}
