//! Parcels that release the interpreter where making, filling or freeing their pages takes long.

use crate::errors::OrRaise;
use crate::wait::{self, MUCH};
use procession::Error;
use procession::bindings::{self, Deadline, Handle};
use pyo3::prelude::*;
use std::ops::Deref;

/// A parcel of the engine; `None` only while it is dropped.
pub struct Parcel(Option<bindings::Parcel>);

impl Parcel {
    /// Makes a parcel of `len` bytes, which `fill` writes, with references to `handles`.
    ///
    /// If a process is stopped in the middle of a change, this waits for it until `deadline`, or for about a second.
    pub fn filled(
        py: Python<'_>,
        len: usize,
        handles: &[Handle],
        deadline: Deadline,
        fill: impl FnOnce(&mut [u8]) + Send,
    ) -> PyResult<Self> {
        let make = || bindings::Parcel::new(len, handles);
        if len < MUCH {
            let made = match wait::awake(py, make) {
                Err(Error::Busy) => py.detach(|| bindings::until(deadline, make)),
                made => made,
            };
            let mut parcel = made.or_raise(py)?;
            fill(&mut parcel);
            return Ok(parcel.into());
        }
        let made = py.detach(|| {
            let mut parcel = bindings::until(deadline, make)?;
            fill(&mut parcel);
            Ok(parcel)
        });
        made.map(Self::from).or_raise(py)
    }

    /// Returns the engine's parcel, to be passed on, or to be dropped while the interpreter is released.
    pub fn into_inner(mut self) -> bindings::Parcel {
        self.0.take().expect("it is there until it is dropped")
    }
}

impl From<bindings::Parcel> for Parcel {
    fn from(parcel: bindings::Parcel) -> Self {
        Self(Some(parcel))
    }
}

impl Deref for Parcel {
    type Target = bindings::Parcel;
    fn deref(&self) -> &bindings::Parcel {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        match self.0.take() {
            Some(parcel) if parcel.len() < MUCH => wait::let_go(parcel),
            Some(parcel) => wait::let_go_of_much(parcel),
            None => {}
        }
    }
}
