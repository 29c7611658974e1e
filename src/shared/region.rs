//! A piece of zeroed memory of any size.

use crate::codec::{Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::layout::{HEAD, LEN};
use crate::heap::object::{Facts, ObjectKind};
use crate::sync::{RLOCK, RLockLayout};
use crate::wait::atomic::Ordering;
use serde::de::Error as _;
use serde::{Deserializer, Serialize, Serializer};

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

/// Names the kind for [`Handle`].
pub(crate) enum RegionKind {}

impl SharedKind for RegionKind {
    type Layout = RLockLayout;
    const KIND: &'static ObjectKind = &REGION;
}

/// A piece of memory: zero when it is made, there until the last handle is gone, wherever that is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region(Handle<RegionKind>);

impl From<Handle<RegionKind>> for Region {
    fn from(handle: Handle<RegionKind>) -> Self {
        Self(handle)
    }
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
        let handle = Handle::make(heap, bytes, number)?;
        // Nobody else knows it yet, and clearing up does not ask.
        heap.word(handle.off() + LEN).store(len as u64, Ordering::Relaxed);
        Ok(Self(handle))
    }

    /// Where it is in this process, at a multiple of 64. Others may read and write it at any time.
    #[inline]
    pub fn address(&self) -> *mut u8 {
        self.0.heap().address(self.0.off() + HEAD, self.len() as u64)
    }

    /// Bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.heap().word(self.0.off() + LEN).load(Ordering::Relaxed) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn handle(&self) -> &Handle<RegionKind> {
        &self.0
    }

    pub(super) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }

    /// Region for the type of this number, whose size `fits` checks.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        number: u64,
        fits: impl FnOnce(usize) -> bool,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let memory = Self(Handle::deserialize_as(number, deserializer)?);
        if fits(memory.len()) {
            Ok(memory)
        } else {
            // Two types of one name, from two versions of a crate.
            Err(D::Error::custom("it is of another size than the type"))
        }
    }
}
