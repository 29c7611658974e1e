//! A piece of zeroed memory of any size.

use crate::codec::{Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::layout::{HEAD, LEN};
use crate::heap::object::{Facts, ObjectKind};
use crate::sync::{RLOCK, RLockLayout};
use crate::wait::atomic::Ordering;
use serde::de::Error as _;
use serde::{Deserializer, Serialize, Serializer};

/// The kind of every region. A region begins as a recursive lock does, and is cleaned up after a death as one.
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

/// A piece of memory. It is zero when it is made, and is freed with the last handle, in whichever process that is.
#[derive(Clone, Debug)]
pub struct Region {
    handle: Handle<RegionKind>,
    place: Place,
}

/// Where a region's payload is in this process. It stays there for as long as there is a handle.
#[derive(Clone, Copy, Debug)]
struct Place {
    address: *mut u8,
    len: usize,
}

// SAFETY: having an address is harmless in any thread. Each place that dereferences it says why that is allowed.
#[allow(unsafe_code)]
unsafe impl Send for Place {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Place {}

impl From<Handle<RegionKind>> for Region {
    fn from(handle: Handle<RegionKind>) -> Self {
        let (heap, off) = (handle.heap(), handle.off());
        let len = heap.word(off + LEN).load(Ordering::Relaxed);
        let place = Place {
            address: heap.address(off + HEAD, len),
            len: len as usize,
        };
        Self { handle, place }
    }
}

impl Region {
    /// Makes a region of `len` bytes. The caller keeps track of their type.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::TooLarge`], or what the system said when shared memory was set up.
    pub fn new(len: usize) -> Result<Self> {
        Self::typed(len, 0)
    }

    /// Makes a region of `len` bytes whose type number is `number`.
    pub(super) fn typed(len: usize, number: u64) -> Result<Self> {
        let heap = crate::program::heap()?;
        let bytes = HEAD.checked_add(len as u64).ok_or(Error::TooLarge {
            len: len as u64,
            max: heap.largest(),
        })?;
        let handle = Handle::make(heap, bytes, number)?;
        // Nobody else knows of the region yet, and clearing up after a death does not use the length.
        heap.word(handle.off() + LEN).store(len as u64, Ordering::Relaxed);
        Ok(Self::from(handle))
    }

    /// Returns where the payload is in this process, at a multiple of 64. Others may read and write it at any time.
    #[inline]
    pub fn address(&self) -> *mut u8 {
        self.place.address
    }

    /// Returns the number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.place.len
    }

    /// Returns true if the region has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn handle(&self) -> &Handle<RegionKind> {
        &self.handle
    }

    pub(super) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle.serialize(serializer)
    }

    /// Decodes a region whose type number is `number`. `fits` checks its length.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        number: u64,
        fits: impl FnOnce(usize) -> bool,
        deserializer: D,
    ) -> Result<Self, D::Error> {
        let memory = Self::from(Handle::deserialize_as(number, deserializer)?);
        if fits(memory.len()) {
            Ok(memory)
        } else {
            // Two versions of a crate may have two types of one name.
            Err(D::Error::custom("it is of another size than the type"))
        }
    }
}
