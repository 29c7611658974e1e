//! Values as bytes: serde by way of postcard, with the handles among them taken along.
//!
//! A handle in a message is a number that means nothing by itself; what keeps its object alive on the way is the
//! reference that the message's block carries. So a handle can be encoded only here, where the references are collected,
//! and decoded only from a block that carries its object.

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::block::Block;
use crate::heap::layout::{HEAD, Off};
use crate::heap::object::{Object, ObjectKind};
use core::mem::ManuallyDrop;
use postcard::ser_flavors::Flavor;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::{Cell, RefCell};
use std::thread::LocalKey;

/// A thread's value that is `None` but while something runs. Without a destructor, so that queues work while a thread's or
/// the program's end is under way.
type Slot<T> = RefCell<ManuallyDrop<Option<T>>>;

thread_local! {
    /// The buffer that values are encoded into and messages copied out to, kept from one message to the next.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// Objects that the value being encoded refers to.
    static OUTGOING: Slot<Vec<Object>> = const { RefCell::new(ManuallyDrop::new(None)) };
    /// Objects that the block being decoded carries.
    static INCOMING: Slot<Vec<Off>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// A buffer larger than this is not kept.
const KEEP: usize = 1 << 20;

/// Lends this thread's buffer, empty; a nested call gets a new one.
pub(crate) fn with_scratch<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let answer = use_it(&mut buffer);
    if buffer.capacity() <= KEEP {
        let _ = SCRATCH.try_with(|kept| kept.set(buffer));
    }
    answer
}

struct Into<'b>(&'b mut Vec<u8>);

impl Flavor for Into<'_> {
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

/// Restores a thread's context when an encoding or decoding ends, in whatever way.
struct Context<T: 'static>(&'static LocalKey<Slot<T>>, Option<T>);

impl<T> Context<T> {
    fn enter(key: &'static LocalKey<Slot<T>>, value: T) -> Self {
        Self(key, key.with_borrow_mut(|slot| slot.replace(value)))
    }
}

impl<T> Drop for Context<T> {
    fn drop(&mut self) {
        let before = self.1.take();
        self.0.with_borrow_mut(|slot| **slot = before);
    }
}

/// Appends `value`'s bytes to `buffer`; answers the objects it refers to.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<Vec<Object>> {
    let _context = Context::enter(&OUTGOING, Vec::new());
    postcard::serialize_with_flavor(value, Into(buffer))
        .map_err(|e| Error::Encode { reason: explain(&e) })?;
    Ok(OUTGOING.with_borrow_mut(|slot| slot.take()).unwrap_or_default())
}

/// Encodes into a block of its own.
pub(crate) fn encode_block<T: Serialize + ?Sized>(heap: &'static Heap, value: &T) -> Result<Block> {
    with_scratch(|buffer| {
        let objects = encode(value, buffer)?;
        block_of(heap, buffer, &objects)
    })
}

/// A block with these bytes that carries references to these objects.
pub(crate) fn block_of(heap: &'static Heap, bytes: &[u8], objects: &[Object]) -> Result<Block> {
    let offs: Vec<Off> = objects.iter().map(Object::off).collect();
    Block::with(heap, bytes, &offs)
}

/// Decodes a value that refers to no object.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|e| undecodable::<T>(&e))
}

/// Decodes a value from a block, with the handles in it.
pub(crate) fn decode_block<T: DeserializeOwned>(block: &Block) -> Result<T> {
    let _context = Context::enter(&INCOMING, block.carried());
    decode(block)
}

/// Decodes what stands at the front of a block, of a type without handles; also where the rest begins.
pub(crate) fn decode_prefix<T: DeserializeOwned>(block: &Block) -> Result<(T, usize)> {
    let (value, rest) = postcard::take_from_bytes(block).map_err(|e| undecodable::<T>(&e))?;
    Ok((value, block.len() as usize - rest.len()))
}

/// Decodes the rest of a block, with the handles in it.
pub(crate) fn decode_block_from<T: DeserializeOwned>(block: &Block, at: usize) -> Result<T> {
    let _context = Context::enter(&INCOMING, block.carried());
    decode(&block[at..])
}

fn undecodable<T>(error: &postcard::Error) -> Error {
    Error::Decode {
        expected: core::any::type_name::<T>().to_owned(),
        reason: explain(error),
    }
}

fn explain(error: &postcard::Error) -> String {
    match REASON.try_with(Cell::take).ok().flatten() {
        Some(reason) => reason,
        None => error.to_string(),
    }
}

thread_local! {
    /// Why a handle could not travel: postcard drops the text of custom errors.
    static REASON: Cell<Option<String>> = const { Cell::new(None) };
}

fn refuse(reason: &str) -> String {
    let text = Error::ForeignHandle {
        reason: reason.to_owned(),
    }
    .to_string();
    let _ = REASON.try_with(|reason| reason.set(Some(text.clone())));
    text
}

/// A handle as it stands in a message.
#[derive(Serialize, Deserialize)]
struct Wire {
    heap: u64,
    off: Off,
    serial: u64,
}

/// Encodes a handle and notes its object.
pub(crate) fn serialize_handle<S: Serializer>(
    object: &Object,
    heap: &Heap,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let noted = OUTGOING.with_borrow_mut(|outgoing| {
        outgoing
            .as_mut()
            .map(|objects| objects.push(object.clone()))
            .is_some()
    });
    if !noted {
        return Err(S::Error::custom(refuse(
            "it was to be serialised by something else",
        )));
    }
    Wire {
        heap: heap.id(),
        off: object.off(),
        serial: object.serial(heap),
    }
    .serialize(serializer)
}

/// Decodes a handle to an object of `kind` whose type number is `extra`.
pub(crate) fn deserialize_handle<'de, D: Deserializer<'de>>(
    kind: &ObjectKind,
    extra: u64,
    deserializer: D,
) -> Result<(Object, &'static Heap), D::Error> {
    let wire = Wire::deserialize(deserializer)?;
    let heap = Heap::existing().filter(|heap| heap.id() == wire.heap);
    let Some(heap) = heap else {
        return Err(D::Error::custom(refuse("it belongs to another program")));
    };
    let carried =
        INCOMING.with_borrow(|incoming| incoming.as_ref().is_some_and(|offs| offs.contains(&wire.off)));
    if !carried {
        return Err(D::Error::custom(refuse(
            "it did not come with the message it is in",
        )));
    }
    heap.reach(wire.off, HEAD)
        .map_err(|e| D::Error::custom(refuse(&e.to_string())))?;
    if heap.kind_of(wire.off) != (kind.number, extra) {
        return Err(D::Error::custom(refuse(&format!(
            "it is not a {} of this type",
            kind.name
        ))));
    }
    let object = heap
        .acquire(wire.off)
        .map_err(|e| D::Error::custom(refuse(&e.to_string())))?;
    if object.serial(heap) != wire.serial {
        return Err(D::Error::custom(refuse("its object is gone")));
    }
    Ok((object, heap))
}

/// A number for a type, the same in every process of the program.
pub(crate) fn type_number<T: ?Sized>() -> u64 {
    core::any::type_name::<T>()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
