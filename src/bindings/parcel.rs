//! Parcels: bytes in shared memory, with the handles among them.

use super::handle::Handle;
use crate::error::{Error, Result};
use crate::heap::block::Block;
use crate::heap::layout::HEAD;
use crate::heap::object::Object;
use core::ops::{Deref, DerefMut};

/// A parcel's first byte lies at a multiple of this.
pub const ALIGN: usize = 64;
const _: () = assert!(HEAD == ALIGN as u64);

/// Bytes in shared memory that this process owns, and references to the objects whose handles are among them.
#[derive(Debug)]
pub struct Parcel(pub(super) Block);

impl Parcel {
    /// Makes a parcel of `len` bytes, arbitrary at first, that carries references to the objects of `handles`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::TooLarge`], or what the system said when shared memory was set up.
    pub fn new(len: usize, handles: &[Handle]) -> Result<Self> {
        let objects: Vec<&Object> = handles.iter().map(Handle::object).collect();
        Block::carrying(crate::program::heap()?, len as u64, &objects).map(Self)
    }

    /// Returns the address of its bytes, for code that lends them to another language. The address is valid as long as
    /// the parcel, and nothing else uses the bytes.
    pub fn address(&self) -> *mut u8 {
        self.0.address()
    }

    /// Returns the handle that was number `index` when the parcel was made.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignHandle`] if there is none; [`Error::OutOfMemory`].
    pub fn handle(&self, index: usize) -> Result<Handle> {
        match self.0.carried().get(index) {
            Some(&off) => Handle::acquire(off),
            None => Err(Error::ForeignHandle {
                reason: format!("the message came without its handle {index}"),
            }),
        }
    }
}

impl Deref for Parcel {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Parcel {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
