//! The compiled half of the Python package: it turns objects into bytes and back, turns errors into exceptions, and
//! releases the interpreter while a call waits or copies. The algorithms are the engine's.

mod bootstrap;
mod buffer;
mod bypass;
mod compact;
mod connection;
mod errors;
mod handles;
mod inspect;
mod locks;
mod message;
mod numbers;
mod parcel;
mod pickling;
mod pollable_fd;
mod producer;
mod queue;
mod region;
mod select;
mod shared;
mod shm;
mod stream;
mod sync;
mod wait;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The oldest kernel that has what the engine needs (`pidfd_getfd`, `MADV_POPULATE_WRITE` with a fallback).
const OLDEST: (u32, u32) = (5, 10);

/// Raises `ImportError` on a system that is too old, instead of failing in some later call.
fn check_system(py: Python<'_>) -> PyResult<()> {
    let release: String = py
        .import("os")?
        .call_method0("uname")?
        .getattr("release")?
        .extract()?;
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < OLDEST {
        return Err(PyImportError::new_err(format!(
            "procession needs Linux {}.{} or newer, and this is Linux {release}",
            OLDEST.0, OLDEST.1
        )));
    }
    Ok(())
}

/// The compiled half of the package, for its Python half only.
#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    check_system(module.py())?;
    wait::install();
    module.add_class::<queue::Queue>()?;
    module.add_class::<connection::Connection>()?;
    module.add_class::<bypass::Bypass>()?;
    module.add_class::<producer::Producer>()?;
    module.add_class::<locks::Lock>()?;
    module.add_class::<locks::RLock>()?;
    module.add_class::<locks::Semaphore>()?;
    module.add_class::<sync::WaitQueue>()?;
    module.add_class::<sync::Event>()?;
    module.add_class::<sync::Barrier>()?;
    module.add_class::<buffer::SharedBuffer>()?;
    module.add_class::<region::Region>()?;
    module.add_class::<shared::Synchronized>()?;
    module.add_class::<shared::SynchronizedArray>()?;
    module.add_function(wrap_pyfunction!(bootstrap::new_join_token, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::started, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::leave, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::attach, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::start_object, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::ended, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::is_alive, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::last_child, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::lifeline, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::die_with, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::take_leave, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::ensure_heap, module)?)?;
    module.add_function(wrap_pyfunction!(bootstrap::resident_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(shm::memory_create, module)?)?;
    module.add_function(wrap_pyfunction!(shm::memory_open, module)?)?;
    module.add_function(wrap_pyfunction!(shm::memory_unlink, module)?)?;
    module.add_function(wrap_pyfunction!(shm::memory_tidy, module)?)?;
    module.add_function(wrap_pyfunction!(select::wait_for_any, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::rename, module)?)?;
    module.add("SEM_VALUE_MAX", i32::MAX)?;
    Ok(())
}
