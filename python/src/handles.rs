//! Handles on their way: which ones the object being encoded speaks of, and which ones came with the one being decoded.

use crate::errors::OrRaise;
use crate::parcel::Parcel;
use crate::wait;
use procession::bindings::{Address, Handle, HandleKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    /// A list for each encoding of this thread that is going on, the innermost last; `None` where nothing can be carried.
    static OUTGOING: RefCell<Vec<Option<Vec<Handle>>>> = const { RefCell::new(Vec::new()) };
    /// The parcel of each decoding of this thread that is going on.
    static INCOMING: RefCell<Vec<Arc<Parcel>>> = const { RefCell::new(Vec::new()) };
}

/// An encoding that is going on; dropped without [`finish`](Self::finish), it failed.
pub struct Collection(bool);

impl Collection {
    /// Begins to note the handles that are spoken of.
    pub fn begin() -> Self {
        OUTGOING.with_borrow_mut(|lists| lists.push(Some(Vec::new())));
        Self(true)
    }

    /// Begins an encoding for a pipe, which carries no handles: addresses are written.
    pub fn for_pipe() -> Self {
        OUTGOING.with_borrow_mut(|lists| lists.push(None));
        Self(true)
    }

    /// The handles that were spoken of.
    pub fn finish(mut self) -> Vec<Handle> {
        self.0 = false;
        OUTGOING.with_borrow_mut(Vec::pop).flatten().unwrap_or_default()
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        if self.0 {
            // The last handle to something may be among them.
            wait::let_go(OUTGOING.with_borrow_mut(Vec::pop));
        }
    }
}

/// Runs the decoding of a parcel, whose handles can be taken meanwhile.
pub fn lending<T>(parcel: &Arc<Parcel>, decode: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    INCOMING.with_borrow_mut(|parcels| parcels.push(parcel.clone()));
    let answer = decode();
    INCOMING.with_borrow_mut(Vec::pop);
    answer
}

/// What stands for a handle in a pickle.
#[derive(FromPyObject, IntoPyObject)]
pub enum HandleRef {
    /// The handle that the message carries under this number.
    Carried(usize),
    /// Heap, place and serial number: somebody must keep the object until the ticket arrives.
    Address((u64, u64, u64)),
}

/// Whether an encoding is going on, so that tickets may be written.
pub fn is_carrying() -> bool {
    OUTGOING.with_borrow(|lists| !lists.is_empty())
}

/// The ticket for a handle: carried along where that can be done.
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

/// The ticket for a handle that is not carried along, wherever it goes.
pub fn address(handle: &Handle) -> HandleRef {
    let address = handle.address();
    HandleRef::Address((address.heap, address.off, address.serial))
}

/// The handle a ticket stands for.
pub fn resolve(py: Python<'_>, handle_ref: &HandleRef, sort: HandleKind) -> PyResult<Handle> {
    let found = match *handle_ref {
        HandleRef::Carried(index) => {
            let parcel = INCOMING
                .with_borrow(|parcels| parcels.last().cloned())
                .ok_or_else(|| PyRuntimeError::new_err("something shared came without its message"))?;
            wait::briefly(py, || parcel.handle(index))
        }
        HandleRef::Address((heap, off, serial)) => {
            wait::briefly(py, || Handle::find(Address { heap, off, serial }, sort))
        }
    };
    found.or_raise(py)
}
