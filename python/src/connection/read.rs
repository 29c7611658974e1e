//! Reading a message: first its length, then its bytes, from the descriptor or from the bypass.

use super::state::Connection;
use crate::buffer;
use crate::parcel::Parcel;
use crate::stream::{Stream, Transfer};
use pyo3::exceptions::{PyEOFError, PyOSError};
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

/// A message whose length was read.
pub(super) enum Incoming {
    /// This number of bytes follow in the descriptor.
    Stream(usize),
    /// Its contents came through the bypass.
    Parcel(Parcel),
}

impl Incoming {
    /// Returns the number of bytes of the message.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Stream(len) => *len,
            Self::Parcel(parcel) => parcel.len(),
        }
    }
}

impl Connection {
    /// Begins to read a message: reads its length, and takes its contents if they are in the bypass.
    pub(super) fn begin(slf: &Bound<'_, Self>, stream: &Stream<'_>) -> PyResult<Incoming> {
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
            // An error here breaks the message off, because its length was read already.
            Some(bypass) => {
                (bypass.get().take(py, len)).inspect_err(|_| this.read_part.store(true, Ordering::Relaxed))?
            }
            None => None,
        };
        Ok(contents.map_or(Incoming::Stream(len), Incoming::Parcel))
    }

    /// Reads `N` bytes, which are the `first` of their message or not.
    #[allow(unsafe_code)]
    fn read_array<const N: usize>(
        &self,
        py: Python<'_>,
        stream: &Stream<'_>,
        first: bool,
    ) -> PyResult<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: `bytes` is borrowed until `read` returns.
        let transfer = unsafe { Transfer::into(bytes.as_mut_ptr(), N) };
        self.read(py, stream, transfer, first)?;
        Ok(bytes)
    }

    /// Reads the bytes of `transfer`, which are the `first` of their message or not.
    pub(super) fn read(
        &self,
        py: Python<'_>,
        stream: &Stream<'_>,
        mut transfer: Transfer,
        first: bool,
    ) -> PyResult<()> {
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
    pub(super) fn finish<'py>(
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
    pub(super) fn read_body<'py>(
        &self,
        py: Python<'py>,
        stream: &Stream<'_>,
        len: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        // If there is no memory for the bytes, none of them are read, and the message is broken off.
        self.read_part.store(true, Ordering::Relaxed);
        let bytes = buffer::filled(py, len, false, |to| {
            self.read_part.store(false, Ordering::Relaxed);
            // SAFETY: `to` is borrowed until this returns.
            let transfer = unsafe { Transfer::into(to.as_mut_ptr(), to.len()) };
            self.read(py, stream, transfer, false)
        })?;
        Ok(bytes)
    }
}

/// Reports an impossible length to the Python class, which makes the connection unreadable, and raises.
pub(super) fn bad_length<T>(slf: &Bound<'_, Connection>) -> PyResult<T> {
    slf.call_method0("_bad_message_length")?;
    Err(PyOSError::new_err("bad message length"))
}
