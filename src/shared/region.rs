//! A piece of zeroed memory of any size.

use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::layout::{HEAD, LEN};
use crate::heap::object::{Facts, Object, ObjectKind};
use crate::sync::RLOCK;
use crate::wait::atomic::Ordering;
use serde::de::Error as _;
use serde::{Deserializer, Serializer};

/// The kind of every piece of memory. It begins as a recursive lock does, and is buried as one.
pub(crate) const REGION: ObjectKind = ObjectKind {
    number: 10,
    name: "shared memory",
    on_holder_death: RLOCK.on_holder_death,
    clear: |_, _| Ok(()),
    describe: |heap, off| Facts {
        figures: vec![("bytes", heap.word(off + LEN).load(Ordering::Relaxed))],
        ..(RLOCK.describe)(heap, off)
    },
};

/// A piece of memory: zero when it is made, there until the last handle is gone, wherever that is.
#[derive(Clone, Debug)]
pub struct Region {
    heap: &'static Heap,
    object: Object,
}

impl Region {
    /// `len` bytes for whoever looks after their type itself.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::TooLarge`], or what the system said when shared memory was set up.
    pub fn new(len: usize) -> Result<Self> {
        Self::typed(len, 0)
    }

    /// `len` bytes for the type of this number.
    pub(super) fn typed(len: usize, number: u64) -> Result<Self> {
        let heap = crate::program::heap()?;
        let bytes = HEAD.checked_add(len as u64).ok_or(Error::TooLarge {
            len: len as u64,
            max: heap.largest(),
        })?;
        let object = heap.make_object(&REGION, bytes, number)?;
        // Nobody else knows it yet, and clearing up does not ask.
        heap.word(object.off() + LEN).store(len as u64, Ordering::Relaxed);
        Ok(Self { heap, object })
    }

    /// Where it is in this process, at a multiple of 64. Others may read and write it at any time.
    #[inline]
    pub fn address(&self) -> *mut u8 {
        self.heap.address(self.object.off() + HEAD, self.len() as u64)
    }

    /// Bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.heap.word(self.object.off() + LEN).load(Ordering::Relaxed) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    pub(super) fn heap(&self) -> &'static Heap {
        self.heap
    }

    pub(crate) fn from_object(heap: &'static Heap, object: Object) -> Self {
        Self { heap, object }
    }

    pub(super) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::serialize_handle(&self.object, self.heap, serializer)
    }

    /// Region for the type of this number, whose size `fits` checks.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        number: u64,
        fits: impl FnOnce(usize) -> bool,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let (object, heap) = codec::deserialize_handle(&REGION, number, deserializer)?;
        let memory = Self { heap, object };
        if fits(memory.len()) {
            Ok(memory)
        } else {
            // Two types of one name, from two versions of a crate.
            Err(D::Error::custom("it is of another size than the type"))
        }
    }
}
