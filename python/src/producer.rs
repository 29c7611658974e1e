//! The class under `Producer`: a share in the token of a queue's producers. When the last share is given up, the queue
//! is shut down.

use crate::errors::OrRaise;
use crate::handles::{self, HandleRef};
use crate::queue::Queue;
use crate::wait;
use procession::Error;
use procession::bindings::{self, Handle, HandleKind};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A producer of a queue: a share in the token that all of its producers share.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Producer {
    /// `None` before `_make` and after `close`. This is locked only for a moment and with the interpreter held, so
    /// never while the process forks.
    token: Mutex<Option<bindings::Token>>,
}

impl Producer {
    /// Locks the token.
    fn token(&self) -> MutexGuard<'_, Option<bindings::Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the token. Raises if there is one already.
    fn set(&self, token: bindings::Token) -> PyResult<()> {
        let before = self.token().replace(token);
        match before {
            None => Ok(()),
            Some(before) => {
                give_up(before);
                Err(PyRuntimeError::new_err("Producer.__init__() was called twice"))
            }
        }
    }
}

/// Gives a share up. The last one shuts the queue down, which may wait for other processes.
fn give_up(token: bindings::Token) {
    wait::let_go_of_much(token);
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(token) = self.token().take() {
            give_up(token);
        }
    }
}

#[pymethods]
impl Producer {
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            token: Mutex::new(None),
        }
    }

    /// Take a share in the token of `queue`.
    fn _make(&self, py: Python<'_>, queue: &Bound<'_, Queue>) -> PyResult<()> {
        let queue = Queue::open(queue)?;
        let token = py.detach(|| bindings::Token::of(queue)).or_raise(py)?;
        self.set(token)
    }

    /// Return what represents this producer in a pickle.
    fn _handle_ref(&self) -> PyResult<HandleRef> {
        match &*self.token() {
            Some(token) => Ok(handles::reference_to(Handle::from(token))),
            None => Err(PyValueError::new_err("a closed producer cannot be sent")),
        }
    }

    /// Make this a producer with a share in the token that a handle reference stands for.
    fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef) -> PyResult<()> {
        let token = handles::resolve(py, &handle_ref, HandleKind::Token)?.try_into();
        self.set(token.map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?)
    }

    /// Close this producer. When the last producer of a queue is closed, in any process, the queue is shut down.
    /// Closing a producer twice has no effect.
    fn close(&self) {
        let token = self.token().take();
        if let Some(token) = token {
            give_up(token);
        }
    }

    /// True if this producer is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.token().is_none()
    }
}
