//! Writing a message: to the descriptor, or through the bypass.

use super::state::{Connection, NOTHING};
use crate::bypass::{self, Fate};
use crate::pickling::Pickled;
use crate::stream::{Stream, Transfer};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

/// What is left to be written to the descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing: the message went through the bypass.
    Nothing,
    /// The contents: the length was written.
    Contents,
    /// The whole message.
    Everything,
}

impl Connection {
    /// Writes one message, which consists of `parts`.
    #[allow(unsafe_code)]
    pub(super) fn write(&self, py: Python<'_>, stream: &Stream<'_>, parts: &[*const [u8]]) -> PyResult<()> {
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
        // Each large part is written together with the small part before it.
        for (i, pair) in parts.chunks(2).enumerate() {
            let (first, second) = (pair[0], pair.get(1).copied());
            // SAFETY: the caller keeps the parts (a pickle, or a view of an object) until this function returns.
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

    /// Sends the message through the bypass if possible, and returns what is left to be written.
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
        // SAFETY: these are the parts of `write`, whose caller keeps them.
        let Some(contents) = (unsafe { bypass::contents(py, parts, len) }) else {
            return Ok(Left::Everything);
        };
        self.refuse_another(stream)?;
        if !bypass.put(py, contents) {
            return Ok(Left::Everything);
        }
        let mut head = [0xFF; 12];
        head[4..].copy_from_slice(&(len as u64).to_be_bytes());
        // SAFETY: `head` lives until this function returns.
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
                // If it is not known whether the contents were taken, no more bytes may follow in the descriptor.
                let broken_off = bypass.take_back(py).unwrap_or(true) && transfer.has_begun();
                self.wrote_part.fetch_or(broken_off, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Raises if the connection was closed since `stream` was taken: the descriptor's number may be another file's by
    /// now.
    fn refuse_another(&self, stream: &Stream<'_>) -> PyResult<()> {
        if self.stream()?.fd == stream.fd {
            return Ok(());
        }
        Err(PyOSError::new_err("handle is closed"))
    }
}

/// Returns the parts of a pickle in order: small and large ones by turns, a small one first.
pub(super) fn parts_of(pickled: &Pickled) -> Vec<*const [u8]> {
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
