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
    /// A System V segment of this number, where no file may be so long.
    Segment(i32),
}

impl HeapFile {
    /// Creates memory of `size` bytes.
    pub(in crate::heap) fn create(size: u64) -> Result<Self> {
        match memory::create(size) {
            Ok(file) => Ok(Self::File(Kept::new(file))),
            // If a segment cannot be had either, the error names the limit, which the user can change.
            Err(error @ Error::FileSizeLimit { .. }) => segment::create_segment(size)
                .map(Self::Segment)
                .map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// Takes over what a parent passed on, a descriptor or (as a negative number) a segment, and returns it with
    /// its size.
    pub(in crate::heap) fn inherited(told: RawFd) -> Result<(Self, u64)> {
        if told < 0 {
            let size = segment::segment_size(!told)?;
            return Ok((Self::Segment(!told), size));
        }
        let file = os::descriptor::inherited(told)?;
        let size = memory::file_size(file.as_fd())?;
        Ok((Self::File(Kept::new(file)), size))
    }

    /// Marks a segment for removal, once its maker has mapped it: it goes with its last user, and can still be
    /// attached.
    pub(in crate::heap) fn begun(&self) {
        if let Self::Segment(number) = self {
            segment::forget_segment(*number);
        }
    }

    /// Returns the descriptor, if there is one and the program has not closed it.
    pub(in crate::heap) fn file(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::File(kept) => kept.get(),
            Self::Segment(_) => None,
        }
    }

    /// Reserves addresses for a part of the memory. `first` is the address of its beginning, null if that is not
    /// mapped yet.
    pub(in crate::heap) fn reserve(&self, first: *mut u8, start: u64, len: u64) -> Result<*mut u8, Errno> {
        match self {
            Self::File(kept) => match kept.get() {
                Some(file) => memory::reserve(file, start, len),
                // The program has closed the descriptor; the mapping leads to the rest of the file.
                None if !first.is_null() => memory::reserve_again(first, start, len),
                None => Err(Errno::BADF),
            },
            Self::Segment(_) if !first.is_null() => memory::reserve_again(first, start, len),
            Self::Segment(number) => segment::reserve_segment(*number, len),
        }
    }
}
