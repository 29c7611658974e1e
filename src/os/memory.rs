//! The memory behind the heap: an anonymous sparse file (`memfd_create(2)`) mapped shared.

use crate::error::{Error, Result};
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes in a page, the unit of committing and giving back.
pub(crate) fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// An anonymous file of `want` bytes mapped shared, or of the largest halving of it, down to `least`, that the limits
/// of this process allow.
pub(crate) fn create(want: u64, least: u64) -> Result<(OwnedFd, *mut u8, u64)> {
    let fd = rustix::fs::memfd_create("procession", MemfdFlags::CLOEXEC)
        .map_err(|e| Error::errno("memfd_create", e))?;
    // A file beyond RLIMIT_FSIZE would raise SIGXFSZ, which kills; so the limit is asked first.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize)
        .current
        .unwrap_or(u64::MAX);
    let mut size = want;
    loop {
        let grown = if size > limit {
            Err(Errno::FBIG)
        } else {
            rustix::fs::ftruncate(&fd, size)
        };
        let mapped = match grown {
            Ok(()) => map(fd.as_fd(), size),
            Err(errno) => Err(Error::errno("ftruncate", errno)),
        };
        match mapped {
            Ok(base) => return Ok((fd, base, size)),
            Err(error) if size / 2 < least => return Err(error),
            Err(_) => size /= 2,
        }
    }
}

/// Maps `size` bytes of `fd` shared, readable and writable, without reserving memory for them.
#[allow(unsafe_code)]
pub(crate) fn map(fd: BorrowedFd<'_>, size: u64) -> Result<*mut u8> {
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            size as usize,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::NORESERVE,
            fd,
            0,
        )
    };
    base.map(<*mut core::ffi::c_void>::cast)
        .map_err(|e| Error::errno("mmap", e))
}

/// Makes the pages of `offset..offset + len` exist, so that touching them cannot fail.
///
/// `MADV_POPULATE_WRITE` (Linux 5.14) also enters them into this process's page table; older kernels get `fallocate`.
#[allow(unsafe_code)]
pub(crate) fn commit(fd: BorrowedFd<'_>, base: *mut u8, offset: u64, len: u64) -> Result<()> {
    static NO_POPULATE: AtomicBool = AtomicBool::new(false);
    if len == 0 {
        return Ok(());
    }
    if !NO_POPULATE.load(Ordering::Relaxed) {
        loop {
            // SAFETY: the range lies within the mapping at `base` (the callers pass offsets of the heap), and populating
            // changes no contents.
            let answer = unsafe {
                rustix::mm::madvise(
                    base.add(offset as usize).cast(),
                    len as usize,
                    Advice::LinuxPopulateWrite,
                )
            };
            match answer {
                Ok(()) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::INVAL) => break,
                Err(_) => return Err(Error::OutOfMemory { requested: len }),
            }
        }
        NO_POPULATE.store(true, Ordering::Relaxed);
    }
    loop {
        match rustix::fs::fallocate(fd, FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(_) => return Err(Error::OutOfMemory { requested: len }),
        }
    }
}

/// Gives the pages of `offset..offset + len` back to the system; they read as zero afterwards.
pub(crate) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) {
    if len > 0 {
        // A failure leaves the pages allocated: memory is given back later or at the end of the program.
        while rustix::fs::fallocate(
            fd,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            offset,
            len,
        ) == Err(Errno::INTR)
        {}
    }
}

/// Bytes of memory the machine has.
pub(crate) fn physical() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit.max(1))
}

/// Eight random bytes from the kernel, for identities that must not be guessed or repeated.
pub(crate) fn random() -> Result<u64> {
    random_bytes().map(u64::from_ne_bytes)
}

/// Up to 256 random bytes from the kernel; so many come all at once.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    const { assert!(N <= 256) };
    let mut bytes = [0u8; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::errno("getrandom", e))?;
    Ok(bytes)
}
