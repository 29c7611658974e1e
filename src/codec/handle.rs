//! [`Handle`]: a reference to an object of the heap, of a kind that is known when the program is compiled.

use super::context::{collect, is_carried, refuse};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::{HEAD, Off};
use crate::heap::object::{Object, ObjectKind, SharedLayout};
use core::fmt;
use core::hash::{Hash, Hasher};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What all objects of one kind have in common.
pub(crate) trait SharedKind {
    /// How an object begins.
    type Layout: SharedLayout + 'static;
    /// What the heap does with objects of this kind.
    const KIND: &'static ObjectKind;
}

/// A reference of this process to an object of kind `K`. Clones share it, and the last one dropped gives it up.
///
/// The handle knows where the object is in this process, so an operation costs no look-up. That place never changes:
/// the heap is mapped for good, and a forked child has it at the same addresses.
pub(crate) struct Handle<K: SharedKind> {
    heap: &'static Heap,
    object: Object,
    layout: &'static K::Layout,
}

impl<K: SharedKind> Handle<K> {
    /// Makes an object that consists of its layout, all zero.
    pub(crate) fn new() -> Result<Self> {
        Self::make(crate::program::heap()?, size_of::<K::Layout>() as u64, 0)
    }

    /// Makes an object of `bytes`, all zero. Its type number is `number`: see [`type_number`](super::type_number).
    pub(crate) fn make(heap: &'static Heap, bytes: u64, number: u64) -> Result<Self> {
        let object = heap.make_object(K::KIND, bytes, number)?;
        Ok(Self::from_object(heap, object))
    }

    /// Makes a handle of a reference to an object, which must be of kind `K`.
    pub(crate) fn from_object(heap: &'static Heap, object: Object) -> Self {
        let layout = heap.shared(object.off());
        Self { heap, object, layout }
    }

    /// Makes a handle to the same object as one of another kind that begins in the same way.
    pub(crate) fn cast<J: SharedKind<Layout = K::Layout>>(&self) -> Handle<J> {
        Handle {
            heap: self.heap,
            object: self.object.clone(),
            layout: self.layout,
        }
    }

    /// Returns the object as it is in shared memory.
    #[inline]
    pub(crate) fn layout(&self) -> &K::Layout {
        self.layout
    }

    #[inline]
    pub(crate) fn heap(&self) -> &'static Heap {
        self.heap
    }

    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    /// Returns the object's offset in the heap.
    #[inline]
    pub(crate) fn off(&self) -> Off {
        self.object.off()
    }

    /// Returns the owner id of this process, 0 where it has none.
    #[inline]
    pub(crate) fn me(&self) -> u32 {
        self.heap.me()
    }

    /// Decodes a handle to an object whose type number is `number`.
    pub(crate) fn deserialize_as<'de, D: Deserializer<'de>>(
        number: u64,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let (object, heap) = deserialize_handle(K::KIND, number, deserializer)?;
        Ok(Self::from_object(heap, object))
    }
}

impl<K: SharedKind> Clone for Handle<K> {
    #[inline]
    fn clone(&self) -> Self {
        Self {
            heap: self.heap,
            object: self.object.clone(),
            layout: self.layout,
        }
    }
}

/// Handles are equal if they refer to the same object.
impl<K: SharedKind> PartialEq for Handle<K> {
    fn eq(&self, other: &Self) -> bool {
        self.off() == other.off()
    }
}

impl<K: SharedKind> Eq for Handle<K> {}

impl<K: SharedKind> Hash for Handle<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.off().hash(state);
    }
}

impl<K: SharedKind> fmt::Debug for Handle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("kind", &K::KIND.name)
            .field("off", &self.off())
            .finish_non_exhaustive()
    }
}

impl<K: SharedKind> Serialize for Handle<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_handle(&self.object, self.heap, serializer)
    }
}

impl<'de, K: SharedKind> Deserialize<'de> for Handle<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_as(0, deserializer)
    }
}

/// A handle as it is written in a message.
#[derive(Serialize, Deserialize)]
struct Wire {
    heap: u64,
    off: Off,
    serial: u64,
}

/// Encodes a handle, and notes its object for the message to carry.
pub(crate) fn serialize_handle<S: Serializer>(
    object: &Object,
    heap: &Heap,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if !collect(object) {
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

/// Decodes a handle to an object of `kind` whose type number is `number`.
pub(crate) fn deserialize_handle<'de, D: Deserializer<'de>>(
    kind: &ObjectKind,
    number: u64,
    deserializer: D,
) -> Result<(Object, &'static Heap), D::Error> {
    let wire = Wire::deserialize(deserializer)?;
    find(kind, number, &wire).map_err(|reason| D::Error::custom(refuse(&reason)))
}

/// Takes a reference to the object that a message speaks of, or returns why there is none to be had.
fn find(kind: &ObjectKind, number: u64, wire: &Wire) -> Result<(Object, &'static Heap), String> {
    let heap = Heap::existing()
        .filter(|heap| heap.id() == wire.heap)
        .ok_or("it belongs to another program")?;
    if !is_carried(wire.off) {
        return Err("it did not come with the message it is in".to_owned());
    }
    heap.reach(wire.off, HEAD).map_err(|error| error.to_string())?;
    if heap.kind_of(wire.off) != (kind.number, number) {
        return Err(format!("it is not a {} of this type", kind.name));
    }
    let object = heap.acquire(wire.off).map_err(|error| error.to_string())?;
    if object.serial(heap) != wire.serial {
        return Err("its object is gone".to_owned());
    }
    Ok((object, heap))
}
