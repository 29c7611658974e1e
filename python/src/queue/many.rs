//! Many objects at a time: `put_many` and `get_many`.

use super::state::{Queue, put_parcel};
use crate::errors::OrRaise;
use crate::message::{self, Encoded};
use crate::wait::{self, patiently};
use procession::bindings::{Deadline, RawQueue, Received};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::atomic::Ordering;

/// The most small messages that are put into the queue together.
const BATCH: usize = 256;

/// Small messages on their way into the queue together.
#[derive(Default)]
struct Batch {
    /// The messages, one after the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Puts them all, and returns their number.
    fn put(&mut self, py: Python<'_>, queue: &RawQueue, deadline: Deadline) -> PyResult<usize> {
        let mut put = 0;
        let answer = patiently(py, deadline, |until| {
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

/// Puts every object of an iterable, and returns their number.
pub fn put(slf: &Bound<'_, Queue>, objects: &Bound<'_, PyAny>, deadline: Deadline) -> PyResult<usize> {
    let (py, queue) = (slf.py(), Queue::open(slf)?);
    let mut batch = Batch::default();
    let mut count = 0;
    for object in objects.try_iter()? {
        let encoded = object.and_then(|object| Queue::encode(slf, &object, &mut batch.bytes, deadline));
        match encoded {
            Ok(None) => {}
            Ok(Some(Encoded::Small)) => batch.ends.push(batch.bytes.len()),
            Ok(Some(Encoded::Parcel(parcel))) => {
                count += batch.put(py, queue, deadline)?;
                put_parcel(py, queue, parcel, deadline)?;
                count += 1;
            }
            Err(error) => {
                // The objects before this one are put all the same.
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

/// Waits for the first object, then takes up to `most` of those that are there.
pub fn get<'py>(slf: &Bound<'py, Queue>, most: usize, deadline: Deadline) -> PyResult<Bound<'py, PyList>> {
    let (py, queue, this) = (slf.py(), Queue::open(slf)?, slf.get());
    if most == 0 {
        return Err(PyValueError::new_err(
            "get_many() must be asked for at least one object",
        ));
    }
    let mut buffer = Vec::new();
    let received = patiently(py, deadline, |until| queue.get_many(&mut buffer, most, until));
    this.refresh(queue);
    let zero_copy = this.zero_copy.load(Ordering::Relaxed);
    let objects = PyList::empty(py);
    let (mut received, mut rest) = (received.or_raise(py)?.into_iter(), buffer.as_slice());
    while let Some(message) = received.next() {
        let len = match message {
            Received::Inline(len) => len,
            Received::Parcel(_) => 0,
        };
        let (inline, others) = rest.split_at(len);
        rest = others;
        let object = message::decode(py, message, inline, zero_copy);
        if let Err(error) = object.and_then(|object| objects.append(object)) {
            // Freeing the others may wait for a lock of the engine.
            wait::let_go_of_much(received);
            return Err(error);
        }
    }
    Ok(objects)
}
