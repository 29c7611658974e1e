//! Values and arrays that processes share. How they are laid out, and who may touch what when, is in README.md beside this
//! file.

mod array;
mod atomic;
mod guard;
mod memory;
mod raw;
mod value;

pub use array::Array;
pub use atomic::{Atom, Atomic, Number};
pub use guard::{ArrayGuard, ValueGuard};
pub(crate) use memory::MEMORY;
pub use memory::Memory;
pub use raw::{RawArray, RawValue};
pub use value::Value;
