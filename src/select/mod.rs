//! Waiting for several things at once. The protocol is in README.md beside this file.

mod bridge;
#[cfg(all(test, loom))]
mod models;
mod once;
mod selector;
mod source;

pub use once::wait;
pub(crate) use once::wait_until;
pub use selector::{Key, Selector};
#[doc(hidden)]
pub use source::Source;
pub use source::Waitable;
