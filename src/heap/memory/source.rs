//! Where the heap's memory comes from: an anonymous file, or a System V segment where no file may be as long.

use crate::error::{Error, Result};
use crate::os;
use crate::os::kept::Kept;
use crate::os::memory;
use crate::os::segment;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// Where the heap's memory comes from.
#[derive(Debug)]
pub(in crate::heap) enum HeapFile {
    /// An anonymous file.
    File(Kept),
    /// A System V segment of this number, where no file could be so long.
    Segment(i32),
}

impl HeapFile {
    /// Memory of `size` bytes.
    pub(in crate::heap) fn create(size: u64) -> Result<Self> {
        match memory::create(size) {
            Ok(file) => Ok(Self::File(Kept::new(file))),
            // What is said then is the limit, which the user can change.
            Err(error @ Error::FileSizeLimit { .. }) => segment::create_segment(size)
                .map(Self::Segment)
                .map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// What a parent passed on: a descriptor, or the number of a segment; its size too.
    pub(in crate::heap) fn inherited(told: RawFd) -> Result<(Self, u64)> {
        if told < 0 {
            let size = segment::segment_size(!told)?;
            return Ok((Self::Segment(!told), size));
        }
        let file = os::descriptor::inherited(told)?;
        let size = memory::file_size(file.as_fd())?;
        Ok((Self::File(Kept::new(file)), size))
    }

    /// To be called when the memory is mapped for the first time, by who made it.
    pub(in crate::heap) fn begun(&self) {
        if let Self::Segment(number) = self {
            // From now on it goes with its last user, and can still be attached.
            segment::forget_segment(*number);
        }
    }

    /// The descriptor, if there is one and it was not closed.
    pub(in crate::heap) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::File(kept) => kept.get(),
            Self::Segment(_) => None,
        }
    }

    /// Reserves addresses for a part of the memory; `first` is where its beginning is mapped, null where it is not yet.
    pub(in crate::heap) fn reserve(&self, first: *mut u8, start: u64, len: u64) -> Result<*mut u8, Errno> {
        match self {
            Self::File(kept) => match kept.get() {
                Some(file) => memory::reserve(file, start, len),
                // The program has closed it; what is mapped leads to the rest.
                None if !first.is_null() => memory::reserve_again(first, start, len),
                None => Err(Errno::BADF),
            },
            Self::Segment(_) if !first.is_null() => memory::reserve_again(first, start, len),
            Self::Segment(number) => segment::reserve_segment(*number, len),
        }
    }
}
