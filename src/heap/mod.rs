//! The program's one heap: memory that all processes of the program share, with the tables at its front.
//!
//! `README.md` beside this file describes the layout and the protocols.

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
