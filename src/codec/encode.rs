//! From a value to bytes.

use super::context::{collecting, explain};
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::heap::layout::Off;
use crate::heap::object::Object;
use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// Appends what postcard writes to a buffer.
struct AppendTo<'b>(&'b mut Vec<u8>);

impl Flavor for AppendTo<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Appends `value`'s bytes to `buffer`, and returns the objects that it refers to.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<Vec<Object>> {
    let context = collecting();
    postcard::serialize_with_flavor(value, AppendTo(buffer))
        .map_err(|e| Error::Encode { reason: explain(&e) })?;
    Ok(context.collected())
}

/// Encodes a value into a block of its own.
pub(crate) fn encode_block<T: Serialize + ?Sized>(heap: &'static Heap, value: &T) -> Result<Block> {
    let mut buffer = Scratch::take();
    let objects = encode(value, &mut buffer)?;
    block_of(heap, &buffer, &objects)
}

/// Makes a block with these bytes, which carries references to these objects.
pub(crate) fn block_of(heap: &'static Heap, bytes: &[u8], objects: &[Object]) -> Result<Block> {
    let offs: Vec<Off> = objects.iter().map(Object::off).collect();
    Block::with(heap, bytes, &offs)
}
