//! The handles that are inside messages: of the object that is being encoded, and of the message that is being decoded.
//!
//! A queue or lock is pickled as a [`HandleRef`]. Through a queue, the message carries a reference to the object, and
//! the handle reference is its number in the message. Anywhere else it is the object's address.

use crate::errors::OrRaise;
use crate::parcel::Parcel;
use crate::wait;
use procession::bindings::{Address, Handle, HandleKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// A list for each encoding in progress on this thread, the innermost last; `None` for one that carries no handles.
    static OUTGOING: RefCell<Vec<Option<Vec<Handle>>>> = const { RefCell::new(Vec::new()) };
    /// The parcel of each decoding in progress on this thread, the innermost last.
    static INCOMING: RefCell<Vec<Arc<Parcel>>> = const { RefCell::new(Vec::new()) };
}

/// An encoding in progress. If it is dropped without [`finish`](Self::finish), the encoding has failed.
pub struct Collection(bool);

impl Collection {
    /// Begins to collect the handles of the objects that are encoded.
    pub fn begin() -> Self {
        OUTGOING.with_borrow_mut(|lists| lists.push(Some(Vec::new())));
        Self(true)
    }

    /// Begins an encoding for a pipe, which carries no handles: their addresses are written.
    pub fn for_pipe() -> Self {
        OUTGOING.with_borrow_mut(|lists| lists.push(None));
        Self(true)
    }

    /// Returns the handles that were collected.
    pub fn finish(mut self) -> Vec<Handle> {
        self.0 = false;
        OUTGOING.with_borrow_mut(Vec::pop).flatten().unwrap_or_default()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        if self.0 {
            // The last handle to an object may be among them.
            wait::let_go(OUTGOING.with_borrow_mut(Vec::pop));
        }
    }
}

/// Runs `decode`, which can take the handles of `parcel` meanwhile.
pub fn lending<T>(parcel: &Arc<Parcel>, decode: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    INCOMING.with_borrow_mut(|parcels| parcels.push(parcel.clone()));
    let answer = decode();
    INCOMING.with_borrow_mut(Vec::pop);
    answer
}

/// What represents a handle in a pickle.
#[derive(FromPyObject, IntoPyObject)]
pub enum HandleRef {
    /// The number of the handle among those that the message carries.
    Carried(usize),
    /// Heap, offset and serial number. A process must keep the object until this reference arrives.
    Address((u64, u64, u64)),
}

/// Returns whether an encoding is in progress on this thread, so that handle references may be written.
pub fn is_carrying() -> bool {
    OUTGOING.with_borrow(|lists| !lists.is_empty())
}

/// Returns the reference to a handle, which the message carries if it can.
pub fn reference_to(handle: Handle) -> HandleRef {
    let address = address(&handle);
    let carried = OUTGOING.with_borrow_mut(|lists| {
        let list = lists.last_mut()?.as_mut()?;
        list.push(handle);
        Some(list.len() - 1)
    });
    match carried {
        Some(index) => HandleRef::Carried(index),
        None => address,
    }
}

/// Returns the reference to a handle that no message carries.
pub fn address(handle: &Handle) -> HandleRef {
    let address = handle.address();
    HandleRef::Address((address.heap, address.off, address.serial))
}

/// Returns the handle that a reference stands for.
pub fn resolve(py: Python<'_>, handle_ref: &HandleRef, sort: HandleKind) -> PyResult<Handle> {
    let found = match *handle_ref {
        HandleRef::Carried(index) => {
            let parcel = INCOMING
                .with_borrow(|parcels| parcels.last().cloned())
                .ok_or_else(|| {
                    PyRuntimeError::new_err(
                        "a queue, lock or value was unpickled apart from the message that carries it: \
                         unpickle it while that message is received",
                    )
                })?;
            wait::briefly(py, || parcel.handle(index))
        }
        HandleRef::Address((heap, off, serial)) => {
            wait::briefly(py, || Handle::find(Address { heap, off, serial }, sort))
        }
    };
    found.or_raise(py)
}
