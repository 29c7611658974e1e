//! From bytes to a value.

use super::context::{carrying, explain};
use crate::error::{Error, Result};
use crate::heap::block::Block;
use serde::de::DeserializeOwned;

/// Decodes a value that refers to no object.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|e| undecodable::<T>(&e))
}

/// Decodes a value from a block, with the handles in it.
pub(crate) fn decode_block<T: DeserializeOwned>(block: &Block) -> Result<T> {
    decode_block_from(block, 0)
}

/// Decodes the value at the front of a block, of a type without handles. Also returns where the rest begins.
pub(crate) fn decode_prefix<T: DeserializeOwned>(block: &Block) -> Result<(T, usize)> {
    let (value, rest) = postcard::take_from_bytes(block).map_err(|e| undecodable::<T>(&e))?;
    Ok((value, block.len() as usize - rest.len()))
}

/// Decodes the bytes of a block from `at` on, with the handles in them.
pub(crate) fn decode_block_from<T: DeserializeOwned>(block: &Block, at: usize) -> Result<T> {
    let _context = carrying(block.carried());
    decode(&block[at..])
}

/// Makes the error for bytes that are no `T`.
fn undecodable<T>(error: &postcard::Error) -> Error {
    Error::Decode {
        expected: core::any::type_name::<T>().to_owned(),
        reason: explain(error),
    }
}
