//! The compiled half of the Python package: it turns objects into bytes and back, maps errors, and lets go of the
//! interpreter while something waits or copies. What is an algorithm is the engine's.

mod birth;
mod buffer;
mod carry;
mod channel;
mod compact;
mod connection;
mod errors;
mod inspect;
mod lane;
mod locks;
mod memory;
mod message;
mod named;
mod numbers;
mod parcel;
mod pickling;
mod select;
mod shared;
mod stream;
mod together;
mod wait;
mod watch;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The oldest kernel that has what the engine needs (`pidfd_getfd`, `MADV_POPULATE_WRITE` with a fallback).
const OLDEST: (u32, u32) = (5, 10);

/// Complains on a system that is too old, instead of failing somewhere in the middle.
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

/// The compiled half of the package; for its Python half only.
#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    check_system(module.py())?;
    wait::install();
    module.add_class::<channel::Channel>()?;
    module.add_class::<connection::Connection>()?;
    module.add_class::<lane::Lane>()?;
    module.add_class::<locks::Lock>()?;
    module.add_class::<locks::RLock>()?;
    module.add_class::<locks::Semaphore>()?;
    module.add_class::<together::Line>()?;
    module.add_class::<together::Event>()?;
    module.add_class::<together::Barrier>()?;
    module.add_class::<buffer::SharedBuffer>()?;
    module.add_class::<memory::Memory>()?;
    module.add_class::<shared::Synchronized>()?;
    module.add_class::<shared::SynchronizedArray>()?;
    module.add_function(wrap_pyfunction!(birth::invite, module)?)?;
    module.add_function(wrap_pyfunction!(birth::started, module)?)?;
    module.add_function(wrap_pyfunction!(birth::leave, module)?)?;
    module.add_function(wrap_pyfunction!(birth::attach, module)?)?;
    module.add_function(wrap_pyfunction!(birth::start_object, module)?)?;
    module.add_function(wrap_pyfunction!(birth::ended, module)?)?;
    module.add_function(wrap_pyfunction!(birth::is_alive, module)?)?;
    module.add_function(wrap_pyfunction!(birth::last_child, module)?)?;
    module.add_function(wrap_pyfunction!(birth::lifeline, module)?)?;
    module.add_function(wrap_pyfunction!(birth::die_with, module)?)?;
    module.add_function(wrap_pyfunction!(birth::take_leave, module)?)?;
    module.add_function(wrap_pyfunction!(birth::ensure_heap, module)?)?;
    module.add_function(wrap_pyfunction!(birth::resident_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(named::memory_create, module)?)?;
    module.add_function(wrap_pyfunction!(named::memory_open, module)?)?;
    module.add_function(wrap_pyfunction!(named::memory_unlink, module)?)?;
    module.add_function(wrap_pyfunction!(named::memory_tidy, module)?)?;
    module.add_function(wrap_pyfunction!(select::wait_for_any, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::inspect, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::rename, module)?)?;
    module.add("SEM_VALUE_MAX", i32::MAX)?;
    Ok(())
}
