//! Values as bytes: serde by way of postcard, together with the handles among them.
//!
//! A handle in a message is a number that means nothing by itself. The message's block carries a reference, which
//! keeps the object alive on the way. So a handle can be encoded only where the references are collected, and decoded
//! only from a block that carries its object. README.md beside this file tells the way of a value.

mod context;
mod decode;
mod encode;
mod handle;
mod scratch;

pub(crate) use decode::{decode, decode_block, decode_block_from, decode_prefix};
pub(crate) use encode::{block_of, encode, encode_block};
pub(crate) use handle::{Handle, SharedKind, deserialize_handle, serialize_handle};
pub use scratch::Scratch;

/// Returns a number for a type, the same in every process of the program.
pub(crate) fn type_number<T: ?Sized>() -> u64 {
    core::any::type_name::<T>()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
