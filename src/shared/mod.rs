//! Values and arrays that processes share. README.md beside this file tells how they are laid out, and when which
//! process may touch them.

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
