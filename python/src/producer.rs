//! What a queue's producers have in common, and what ends the queue with the last of them.

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

/// A share in the token of a queue's producers.
#[pyclass(frozen, subclass, module = "procession._engine")]
pub struct Producing {
    /// `None` before it is taken, and behind `close`. Locked for an instant, with the interpreter: so never while a process forks.
    token: Mutex<Option<bindings::Token>>,
}

impl Producing {
    fn token(&self) -> MutexGuard<'_, Option<bindings::Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, token: bindings::Token) -> PyResult<()> {
        let before = self.token().replace(token);
        match before {
            None => Ok(()),
            Some(before) => {
                give_up(before);
                Err(PyRuntimeError::new_err("this producer is another one already"))
            }
        }
    }
}

/// The last one ends the queue, for which others may have to be waited for.
fn give_up(token: bindings::Token) {
    wait::let_go_of_much(token);
}

impl Drop for Producing {
    fn drop(&mut self) {
        if let Some(token) = self.token().take() {
            give_up(token);
        }
    }
}

#[pymethods]
impl Producing {
    #[new]
    #[pyo3(signature = (*_args, **_options))]
    fn new(_args: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            token: Mutex::new(None),
        }
    }

    /// Takes a share in the token of `queue`.
    fn _make(&self, py: Python<'_>, queue: &Bound<'_, Queue>) -> PyResult<()> {
        let queue = Queue::open(queue)?;
        let token = py.detach(|| bindings::Token::of(queue)).or_raise(py)?;
        self.set(token)
    }

    fn _handle_ref(&self) -> PyResult<HandleRef> {
        match &*self.token() {
            Some(token) => Ok(handles::reference_to(Handle::from(token))),
            None => Err(PyValueError::new_err("a producer that is closed cannot be sent")),
        }
    }

    fn _resolve(&self, py: Python<'_>, handle_ref: HandleRef) -> PyResult<()> {
        let token = handles::resolve(py, &handle_ref, HandleKind::Token)?.try_into();
        self.set(token.map_err(|error: Error| PyRuntimeError::new_err(error.to_string()))?)
    }

    /// Say that nothing more will be put with this one. With the last producer of a queue, in whatever process, the queue is
    /// shut down. Closing one twice has no effect.
    fn close(&self) {
        let token = self.token().take();
        if let Some(token) = token {
            give_up(token);
        }
    }

    /// Whether this one is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.token().is_none()
    }
}
