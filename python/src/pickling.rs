//! Pickling as `ForkingPickler` does it: protocol 5, with the reducers registered with `copyreg` and with
//! `ForkingPickler`.
//!
//! A pickler is expensive to make, so each thread keeps one. It writes to a [`Sink`] and looks reducers up in
//! [`Reducers`]. While an object is pickled, the thread keeps none: if its pickling pickles another object, that gets
//! a new pickler.

use crate::buffer::Lent;
use crate::wait::MUCH;
use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyKeyError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A buffer with fewer bytes stays in the pickle: a buffer beside the pickle costs more than copying it.
const MIN_BUFFER: usize = 4 << 10;
/// A part of a pickle with fewer bytes is copied: one more system call costs more than copying it.
const MIN_LENT: usize = 64 << 10;
/// A stream with a larger capacity is not kept from one object to the next.
const KEEP: usize = 1 << 20;

/// A pickle, and the buffers that belong to it.
#[derive(Default)]
pub struct Pickled {
    pub stream: Vec<u8>,
    /// The buffers beside the pickle ([`Form::Parted`]).
    pub buffers: Vec<PyBuffer<u8>>,
    /// The large parts of the pickle that were not copied, each with its place in the stream ([`Form::Whole`]).
    pub lent: Vec<(usize, PyUntypedBuffer)>,
}

/// What a pickler writes to.
#[pyclass(frozen)]
struct Sink {
    pickled: Mutex<Pickled>,
    form: Form,
}

impl Sink {
    /// Locks what was written so far.
    fn lock(&self) -> MutexGuard<'_, Pickled> {
        self.pickled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a copy of `lent` to the stream. Releases the interpreter if that takes long.
    fn append(&self, py: Python<'_>, lent: Lent) {
        if lent.len() < MUCH {
            lent.append_to(&mut self.lock().stream);
            return;
        }
        // Only this thread uses this pickler, so no other thread looks for the stream meanwhile.
        let mut stream = std::mem::take(&mut self.lock().stream);
        py.detach(|| lent.append_to(&mut stream));
        self.lock().stream = stream;
    }
}

#[pymethods]
impl Sink {
    #[allow(unsafe_code)]
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        if let Ok(bytes) = data.cast::<PyBytes>()
            && (self.form == Form::Parted || bytes.as_bytes().len() < MIN_LENT)
        {
            let bytes = bytes.as_bytes();
            // SAFETY: the bytes are borrowed until this function returns.
            self.append(data.py(), unsafe { Lent::of(bytes) });
            return Ok(bytes.len());
        }
        let view = PyUntypedBuffer::get(data)?;
        if !view.is_c_contiguous() && !view.is_fortran_contiguous() {
            return Err(PyBufferError::new_err("a pickle's buffer must be contiguous"));
        }
        let len = view.len_bytes();
        if self.form == Form::Whole && len >= MIN_LENT {
            let mut pickled = self.lock();
            let place = pickled.stream.len();
            pickled.lent.push((place, view));
        } else {
            let start = view.buf_ptr().cast::<u8>().cast_const();
            // SAFETY: the view has `len` contiguous bytes, and it exists until this function returns.
            self.append(data.py(), unsafe {
                Lent::of(std::ptr::slice_from_raw_parts(start, len))
            });
        }
        Ok(len)
    }

    /// Return whether a buffer stays in the stream. The pickler asks this for every buffer.
    fn keeps(&self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        // A buffer that is not contiguous has no raw view.
        let Ok(raw) = buffer.call_method0("raw") else {
            return Ok(true);
        };
        let raw = PyBuffer::<u8>::get(&raw)?;
        if raw.len_bytes() < MIN_BUFFER {
            return Ok(true);
        }
        self.lock().buffers.push(raw);
        Ok(false)
    }
}

/// The reducers of `ForkingPickler`, and those of `copyreg` for classes that it has none for.
#[pyclass(frozen, mapping)]
struct Reducers {
    registered: Py<PyDict>,
    everyones: Py<PyDict>,
}

#[pymethods]
impl Reducers {
    fn __getitem__<'py>(&self, py: Python<'py>, class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        for table in [&self.registered, &self.everyones] {
            if let Some(reducer) = table.bind(py).get_item(class)? {
                return Ok(reducer);
            }
        }
        Err(PyKeyError::new_err(class.clone().unbind()))
    }
}

/// A pickler that a thread keeps.
struct Pickler {
    dump: Py<PyAny>,
    clear: Py<PyAny>,
    sink: Py<Sink>,
}

impl Pickler {
    fn new(py: Python<'_>, form: Form) -> PyResult<Self> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let sink = Bound::new(
            py,
            Sink {
                pickled: Mutex::default(),
                form,
            },
        )?;
        let options = PyDict::new(py);
        if form == Form::Parted {
            options.set_item("buffer_callback", sink.getattr("keeps")?)?;
        }
        let pickler = CLASS
            .import(py, "pickle", "Pickler")?
            .call((&sink, 5), Some(&options))?;
        let forking = py.import("procession.reduction")?.getattr("ForkingPickler")?;
        let reducers = Reducers {
            registered: forking
                .getattr("_extra_reducers")?
                .cast_into::<PyDict>()?
                .unbind(),
            everyones: py
                .import("copyreg")?
                .getattr("dispatch_table")?
                .cast_into::<PyDict>()?
                .unbind(),
        };
        pickler.setattr("dispatch_table", Bound::new(py, reducers)?)?;
        Ok(Self {
            dump: pickler.getattr("dump")?.unbind(),
            clear: pickler.getattr("clear_memo")?.unbind(),
            sink: sink.unbind(),
        })
    }
}

/// Where the buffers of an object go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Beside the pickle, if they are large enough.
    Parted,
    /// Into the pickle, so that any reader of pickles can read it.
    Whole,
}

thread_local! {
    /// This thread's pickler for each form.
    static KEPT: [RefCell<Option<Pickler>>; 2] = const { [RefCell::new(None), RefCell::new(None)] };
}

/// Pickles `object`, and calls `use_it` with the pickle.
pub fn dumps<T>(
    object: &Bound<'_, PyAny>,
    form: Form,
    use_it: impl FnOnce(&mut Pickled) -> PyResult<T>,
) -> PyResult<T> {
    let py = object.py();
    let pickler = match KEPT.with(|kept| kept[form as usize].take()) {
        Some(kept) => kept,
        None => Pickler::new(py, form)?,
    };
    pickler.dump.call1(py, (object,))?;
    pickler.clear.call0(py)?;
    let mut pickled = std::mem::take(&mut *pickler.sink.get().lock());
    let answer = use_it(&mut pickled);
    pickled.stream.clear();
    pickled.buffers.clear();
    pickled.lent.clear();
    if pickled.stream.capacity() <= KEEP {
        *pickler.sink.get().lock() = pickled;
    } else {
        py.detach(|| drop(pickled.stream));
    }
    // A pickler that has failed may be in the middle of an object, so only one that has succeeded is kept.
    KEPT.with(|kept| kept[form as usize].replace(Some(pickler)));
    answer
}

/// Returns the object of the pickle in `data`, which is bytes or a view of bytes.
pub fn loads<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    LOADS.import(data.py(), "pickle", "loads")?.call1((data,))
}

/// Does the same as [`loads`] for a pickle with buffers beside it.
pub fn loads_with<'py>(
    data: &Bound<'py, PyAny>,
    buffers: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = PyDict::new(data.py());
    options.set_item("buffers", buffers)?;
    data.py()
        .import("pickle")?
        .getattr("loads")?
        .call((data,), Some(&options))
}
