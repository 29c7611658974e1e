//! Values and arrays that processes share. How they are laid out, and who may touch what when, is in README.md beside this
//! file.

mod array;
mod atomic;
mod guard;
mod primitive;
mod raw;
mod region;
mod value;

pub use array::Array;
pub use atomic::Atomic;
pub use guard::{ArrayGuard, ValueGuard};
pub use primitive::{Number, Primitive};
pub use raw::{RawArray, RawValue};
pub(crate) use region::REGION;
pub use region::Region;
pub use value::Value;
