//! The program's one heap: an anonymous file mapped by every process of the program, and what lives at its front.
//!
//! See README.md beside this file for what is written in which order and what a survivor finds.

pub(crate) mod members;
pub(crate) mod memory;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod notify;
mod open;

pub(crate) use members::{block, fork, object, references, release, survey, table};
pub(crate) use memory::heap::Heap;
pub(crate) use memory::{layout, locks as internal, tx};
pub(crate) use notify::{registration, waiter};
