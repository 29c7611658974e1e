//! Shared memory: making it, and mapping, opening, committing and giving back parts of it by address.
//!
//! It is an anonymous sparse file (`memfd_create(2)`), or, where a limit on the size of files forbids one, a System V segment
//! that is marked for removal as soon as it is attached. Either way the kernel frees it with its last user.

use crate::error::{Error, Result};
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub(crate) use super::random::{random, random_bytes};

/// Bytes in a page, the unit of committing and giving back.
pub(crate) fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// An anonymous file of `size` bytes.
pub(crate) fn create(size: u64) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("procession", MemfdFlags::CLOEXEC)
        .map_err(|e| Error::errno("memfd_create", e))?;
    // A file beyond RLIMIT_FSIZE would raise SIGXFSZ, which kills; so the limit is asked first.
    let limit = getrlimit(Resource::Fsize);
    let beyond = limit.current.is_some_and(|most| size > most);
    if beyond && !raise(limit, size) {
        return Err(Error::FileSizeLimit {
            limit: limit.current.unwrap_or(0),
        });
    }
    let grown = rustix::fs::ftruncate(&fd, size);
    if beyond {
        // Back as it was. Going down is always allowed.
        let _ = setrlimit(Resource::Fsize, limit);
    }
    grown.map_err(|e| Error::errno("ftruncate", e))?;
    Ok(fd)
}

/// Returns the size of a file.
pub(crate) fn file_size(file: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::errno("fstat", e))?;
    Ok(stat.st_size as u64)
}

/// Returns the number of bytes of a file that occupy memory.
pub(crate) fn file_occupies(file: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::errno("fstat", e))?;
    Ok(stat.st_blocks as u64 * 512)
}

/// Raises the limit on the size of files to `size`: the soft one, and the hard one where this process may.
fn raise(from: Rlimit, size: u64) -> bool {
    let enough = Rlimit {
        current: Some(size),
        maximum: from.maximum.map(|most| most.max(size)),
    };
    setrlimit(Resource::Fsize, enough).is_ok()
}

/// Bytes of address space this process may have; `None` without a limit.
pub(crate) fn address_limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Reserves address space for `len` bytes of `fd` from `offset` on: mapped shared, but nothing of it may be touched yet.
#[allow(unsafe_code)]
pub(crate) fn reserve(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<*mut u8, Errno> {
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
    let base = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            len as usize,
            ProtFlags::empty(),
            MapFlags::SHARED | MapFlags::NORESERVE,
            fd,
            offset,
        )
    }?;
    keep_out_of_core_files(base.cast(), len);
    Ok(base.cast())
}

/// The same without a descriptor, from a mapping of the same memory at `known` (of offset 0).
///
/// `mremap(2)` from a length of zero makes one mapping more of what a shared one shows, and `remap_file_pages(2)` has that show
/// another part of the file.
#[allow(unsafe_code)]
pub(crate) fn reserve_again(known: *mut u8, offset: u64, len: u64) -> Result<*mut u8, Errno> {
    // SAFETY: `known` is the start of a shared mapping, which an old length of zero leaves as it is; the new one is at an
    // address of the kernel's choice.
    let base = unsafe { rustix::mm::mremap(known.cast(), 0, len as usize, MremapFlags::MAYMOVE) }?;
    // SAFETY: nobody knows the new mapping yet. (It may show nothing while it moves, and remap_file_pages keeps the protection.)
    let moved = unsafe {
        rustix::mm::mprotect(base, len as usize, MprotectFlags::empty()).and_then(|()| {
            if offset == 0 {
                return Ok(());
            }
            let place = (offset / page()) as usize;
            match libc::remap_file_pages(base, len as usize, 0, place, libc::MAP_NONBLOCK) {
                0 => Ok(()),
                _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
            }
        })
    };
    if let Err(errno) = moved {
        unmap(base.cast(), len);
        return Err(errno);
    }
    keep_out_of_core_files(base.cast(), len);
    Ok(base.cast())
}

/// Lengthens a reserved mapping of `len` bytes at `base` to `want` where the addresses behind it are free; whether they are.
#[allow(unsafe_code)]
pub(crate) fn lengthen(base: *mut u8, len: u64, want: u64) -> bool {
    // SAFETY: the last page of the mapping, which is not moved; what is added lies where nothing is mapped. The kernel adds it
    // with the rights of that page.
    unsafe {
        let last = base.add((len - page()) as usize);
        rustix::mm::mremap(
            last.cast(),
            page() as usize,
            (page() + want - len) as usize,
            MremapFlags::empty(),
        )
        .is_ok()
    }
}

/// Ends a mapping that nobody knows.
#[allow(unsafe_code)]
pub(crate) fn unmap(base: *mut u8, len: u64) {
    // SAFETY: the caller has mapped it, and nobody refers to it.
    let _ = unsafe { rustix::mm::munmap(base.cast(), len as usize) };
}

/// Has `len` bytes from `at` on be touched from now on. Doing it again changes nothing.
#[allow(unsafe_code)]
pub(crate) fn open(at: *mut u8, len: u64) -> Result<(), Errno> {
    // SAFETY: reserved by this process and shared: more rights harm no reference there may be.
    unsafe {
        rustix::mm::mprotect(
            at.cast(),
            len as usize,
            MprotectFlags::READ | MprotectFlags::WRITE,
        )
    }
}

/// Maps `size` bytes of `fd` shared, readable and writable, without reserving memory for them.
pub(crate) fn map(fd: BorrowedFd<'_>, size: u64) -> Result<*mut u8> {
    let mapped = reserve(fd, 0, size).and_then(|base| match open(base, size) {
        Ok(()) => Ok(base),
        Err(errno) => {
            unmap(base, size);
            Err(errno)
        }
    });
    mapped.map_err(|e| Error::errno("mmap", e))
}

/// A process that crashes writes its core file without this memory: it belongs to others as well, and reading its holes would
/// fill them.
#[allow(unsafe_code)]
fn keep_out_of_core_files(base: *mut u8, len: u64) {
    // SAFETY: a mapping of ours, of which this changes no contents.
    let _ = unsafe { rustix::mm::madvise(base.cast(), len as usize, Advice::LinuxDontDump) };
}

/// Makes the `len` bytes from `at` on exist, so that touching them cannot fail. They have been opened; `file` gives their
/// descriptor, if it can be had, and `offset` is their place in it.
///
/// `MADV_POPULATE_WRITE` (Linux 5.14) also enters them into this process's page table; older kernels get `fallocate`.
#[allow(unsafe_code)]
pub(crate) fn commit<'f>(
    at: *mut u8,
    len: u64,
    file: impl FnOnce() -> Option<BorrowedFd<'f>>,
    offset: u64,
) -> Result<()> {
    static NO_POPULATE: AtomicBool = AtomicBool::new(false);
    let full = || Error::OutOfMemory { requested: len };
    if len == 0 {
        return Ok(());
    }
    if !NO_POPULATE.load(Ordering::Relaxed) {
        loop {
            // SAFETY: opened memory (the caller has seen to it), of which populating changes no contents.
            match unsafe { rustix::mm::madvise(at.cast(), len as usize, Advice::LinuxPopulateWrite) } {
                Ok(()) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::INVAL) => break,
                Err(_) => return Err(full()),
            }
        }
        NO_POPULATE.store(true, Ordering::Relaxed);
    }
    let Some(file) = file() else {
        for n in (0..len as usize).step_by(page() as usize) {
            // SAFETY: opened memory; adding no bit to a byte changes none, whoever else uses it.
            unsafe { AtomicU8::from_ptr(at.add(n)).fetch_or(0, Ordering::Relaxed) };
        }
        return Ok(());
    };
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(_) => return Err(full()),
        }
    }
}

/// Gives the pages of `len` bytes from `at` on back to the system, by address; they read as zero afterwards. The system refuses
/// where they are locked into memory.
#[allow(unsafe_code)]
pub(crate) fn remove(at: *mut u8, len: u64) -> Result<(), Errno> {
    loop {
        // SAFETY: opened memory that the caller owns, whose contents it gives up.
        match unsafe { rustix::mm::madvise(at.cast(), len as usize, Advice::LinuxRemove) } {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// The same by place in the file.
pub(crate) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(fd, flags, offset, len) {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// Bytes of memory that this process may have: the machine's, or what its control group leaves of it.
pub(crate) fn available() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit.max(1));
    super::cgroup::memory_limit().map_or(machine, |limit| limit.min(machine))
}

/// Ends this process because of something that nobody can be told in another way.
pub(crate) fn abort(text: &str) -> ! {
    super::stdio::write_error(text);
    std::process::abort()
}
