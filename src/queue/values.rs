//! Values through a ring: encoded before they are put, decoded after they are got.

use super::refused::{Refused, in_time};
use super::ring::{Got, OutgoingMessage, Ring, is_inline};
use crate::codec::{self, Scratch};
use crate::error::Result;
use crate::os::clock::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes a value and puts it.
pub(crate) fn put_value<T: Serialize>(ring: &Ring, value: &T, deadline: Deadline) -> Result<(), Refused> {
    let mut buffer = Scratch::take();
    let objects = codec::encode(value, &mut buffer).map_err(Refused::Failed)?;
    let mut message = if objects.is_empty() && is_inline(buffer.len()) {
        OutgoingMessage::Bytes(&buffer)
    } else {
        let block = codec::block_of(ring.heap(), &buffer, &objects).map_err(Refused::Failed)?;
        OutgoingMessage::Block(Some(block))
    };
    ring.put(&mut message, deadline)
}

/// Takes the next message and decodes it.
pub(crate) fn get_value<T: DeserializeOwned>(ring: &Ring, deadline: Deadline) -> Result<T> {
    let mut buffer = Scratch::take();
    match ring.get(&mut buffer, deadline) {
        Ok(Got::Inline(_)) => codec::decode(&buffer),
        Ok(Got::Block(block)) => codec::decode_block(&block),
        Err(error) => Err(in_time(error, deadline)),
    }
}
