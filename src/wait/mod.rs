//! Waiting, in one place: spin briefly, then sleep on a futex. README.md in this folder has the protocols.

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

/// The longest time, in nanoseconds, that the death of a process goes unnoticed by threads that wait for what it
/// held.
///
/// Wake-ups can die with the process that was to send them or to pass them on. So one thread of the program checks
/// for deaths once a second (see [`lookout`]); where that is impossible, every sleeping thread does. (Unit tests, in
/// which a process dies at every step, use a shorter time.)
pub(crate) const BACKSTOP: u64 = if cfg!(test) { 50_000_000 } else { 1_000_000_000 };
