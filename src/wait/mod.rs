//! Waiting, in one place: spin briefly, then sleep on a futex. The protocol is written down in README.md beside this file.

pub(crate) mod atomic;
pub(crate) mod gate;
pub(crate) mod interrupt;
pub(crate) mod latch;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod spin;

/// The longest anyone sleeps before looking again, in nanoseconds.
///
/// Wake-ups can die with the process that was to send or to pass them on; so every sleeper looks for itself once a second. (Unit
/// tests, where somebody dies at every step, are not to wait so long each time.)
pub(crate) const BACKSTOP: u64 = if cfg!(test) { 50_000_000 } else { 1_000_000_000 };
