//! Handles whose type is known at run time only.

use super::raw_queue::RawQueue;
use super::token::Token;
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::layout::Off;
use crate::heap::object::{Object, ObjectKind};
use crate::queue::{PRODUCERS, QUEUE};
use crate::shared::{REGION, Region};
use crate::sync::{
    BARRIER, Barrier, CONDITION, EVENT, Event, LOCK, Lock, RLOCK, RLock, SEMAPHORE, Semaphore, WaitQueue,
};

/// What a handle refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandleKind {
    /// A [`RawQueue`].
    RawQueue,
    /// A [`Lock`].
    Lock,
    /// An [`RLock`].
    RLock,
    /// A [`Semaphore`].
    Semaphore,
    /// A [`Region`].
    Region,
    /// A [`WaitQueue`].
    WaitQueue,
    /// An [`Event`].
    Event,
    /// A [`Barrier`].
    Barrier,
    /// A [`Token`].
    Token,
}

impl HandleKind {
    fn kind(self) -> &'static ObjectKind {
        match self {
            Self::RawQueue => &QUEUE,
            Self::Lock => &LOCK,
            Self::RLock => &RLOCK,
            Self::Semaphore => &SEMAPHORE,
            Self::Region => &REGION,
            Self::WaitQueue => &CONDITION,
            Self::Event => &EVENT,
            Self::Barrier => &BARRIER,
            Self::Token => &PRODUCERS,
        }
    }

    /// Returns the type number that objects of this kind have.
    fn extra(self) -> u64 {
        match self {
            Self::RawQueue | Self::Token => super::raw_queue::number(),
            _ => 0,
        }
    }
}

/// Where an object is. Alone it keeps nothing alive, and it means nothing in another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The program.
    pub heap: u64,
    /// The place.
    pub off: u64,
    /// The number that no other object of the program ever has.
    pub serial: u64,
}

/// A reference to any object.
#[derive(Clone, Debug)]
pub struct Handle {
    heap: &'static Heap,
    object: Object,
}

impl Handle {
    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    pub(super) fn acquire(off: Off) -> Result<Self> {
        let heap = crate::program::heap()?;
        Ok(Self {
            heap,
            object: heap.acquire(off)?,
        })
    }

    /// Returns where its object is.
    pub fn address(&self) -> Address {
        Address {
            heap: self.heap.id(),
            off: self.object.off(),
            serial: self.object.serial(self.heap),
        }
    }

    /// Makes a handle to the object at `address`, if the object is still there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignHandle`] if it belongs to another program, is gone, or is not of kind `sort`.
    pub fn find(address: Address, sort: HandleKind) -> Result<Self> {
        let refused = |reason: String| Error::ForeignHandle { reason };
        let heap = Heap::existing()
            .filter(|heap| heap.id() == address.heap)
            .ok_or_else(|| refused("it belongs to another program".to_owned()))?;
        let kind = sort.kind();
        let found = heap.acquire_if_there(address.off, kind.number, sort.extra(), address.serial)?;
        match found {
            Some(object) => Ok(Self { heap, object }),
            None => Err(refused(format!(
                "the {} is gone: nobody kept it while it was on its way",
                kind.name
            ))),
        }
    }

    fn check(self, sort: HandleKind) -> Result<(&'static Heap, Object)> {
        if self.heap.kind_of(self.object.off()) == (sort.kind().number, sort.extra()) {
            return Ok((self.heap, self.object));
        }
        Err(Error::ForeignHandle {
            reason: format!("it is not a {}", sort.kind().name),
        })
    }
}

/// Converts a handle to one whose type is known at run time only, and back.
macro_rules! convert {
    ($($type:ident),*) => {$(
        impl From<&$type> for Handle {
            fn from(object: &$type) -> Self {
                let handle = object.handle();
                Self { heap: handle.heap(), object: handle.object().clone() }
            }
        }

        impl TryFrom<Handle> for $type {
            type Error = Error;
            fn try_from(handle: Handle) -> Result<Self> {
                let (heap, object) = handle.check(HandleKind::$type)?;
                Ok(codec::Handle::from_object(heap, object).into())
            }
        }
    )*};
}

convert!(
    RawQueue, Lock, RLock, Semaphore, Region, WaitQueue, Event, Barrier, Token
);
