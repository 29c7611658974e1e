//! Waiting, in one place: spin briefly, then sleep on a futex. The protocol is written down in README.md beside this file.

pub(crate) mod atomic;
#[cfg(all(test, not(loom)))]
pub(crate) mod crash;
pub(crate) mod event_count;
pub(crate) mod interrupt;
pub(crate) mod lookout;
#[cfg(loom)]
mod loom_futex;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod robust_lock;
pub(crate) mod sleeper;
pub(crate) mod spin;

/// The longest that the death of a process goes unnoticed by those who wait for what it had, in nanoseconds.
///
/// Wake-ups can die with the process that was to send or to pass them on; so somebody of the program looks once a second
/// (see [`lookout`]), or where that cannot be, everybody who sleeps. (Unit tests, where somebody dies at every step, are not to
/// wait so long each time.)
pub(crate) const BACKSTOP: u64 = if cfg!(test) { 50_000_000 } else { 1_000_000_000 };
