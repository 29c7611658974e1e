//! Shared memory: making it, and mapping, opening, committing and freeing parts of it by address.
//!
//! The memory is an anonymous sparse file (`memfd_create(2)`). Where a limit on file sizes forbids such a file, it is
//! a System V segment (see `segment.rs`), which is marked for removal as soon as it is attached. In both cases the
//! kernel frees the memory with its last user.
//!
//! The states of a range of addresses:
//!
//! | state | entered by | may be touched |
//! | --- | --- | --- |
//! | reserved | [`reserve`]: mapped shared, without access rights | no |
//! | open | [`open`]: access rights | yes, but a touch may fail for lack of memory (SIGBUS) |
//! | committed | [`commit`]: its pages exist | yes, and it cannot fail |
//! | freed | [`remove`] or [`punch`]: its pages are gone, and it reads as zero | as open |

use crate::error::{Error, Result};
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub(crate) use super::random::{random, random_bytes};

/// Returns the size of a page, the unit of committing and freeing.
pub(crate) fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// Makes an anonymous file of `size` bytes.
pub(crate) fn create(size: u64) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("procession", MemfdFlags::CLOEXEC)
        .map_err(|e| Error::errno("memfd_create", e))?;
    // Growing a file beyond RLIMIT_FSIZE raises SIGXFSZ, which kills. So the limit is checked first.
    let limit = getrlimit(Resource::Fsize);
    let beyond = limit.current.is_some_and(|most| size > most);
    if beyond && !raise(limit, size) {
        return Err(Error::FileSizeLimit {
            limit: limit.current.unwrap_or(0),
        });
    }
    let grown = rustix::fs::ftruncate(&fd, size);
    if beyond {
        // Restores the limit. Lowering it is always allowed.
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

/// Returns how many bytes of memory a file occupies.
pub(crate) fn file_occupies(file: BorrowedFd<'_>) -> Result<u64> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::errno("fstat", e))?;
    Ok(stat.st_blocks as u64 * 512)
}

/// Raises the limit on file sizes to `size`: the soft limit, and the hard limit if this process may. Returns whether
/// it succeeded.
fn raise(from: Rlimit, size: u64) -> bool {
    let enough = Rlimit {
        current: Some(size),
        maximum: from.maximum.map(|most| most.max(size)),
    };
    setrlimit(Resource::Fsize, enough).is_ok()
}

/// Returns how many bytes of address space this process may have; `None` without a limit.
pub(crate) fn address_limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Reserves addresses for `len` bytes of `fd` from `offset` on: they are mapped shared, but must not be touched yet.
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

/// Reserves addresses like [`reserve`], but without a descriptor: from `known`, a mapping of the same memory at
/// offset 0.
///
/// `mremap(2)` with an old length of zero makes a second mapping of what a shared mapping shows.
/// `remap_file_pages(2)` then moves the new mapping to another part of the file.
#[allow(unsafe_code)]
pub(crate) fn reserve_again(known: *mut u8, offset: u64, len: u64) -> Result<*mut u8, Errno> {
    // SAFETY: `known` is the start of a shared mapping, which an old length of zero leaves as it is; the new one is
    // at an address of the kernel's choice.
    let base = unsafe { rustix::mm::mremap(known.cast(), 0, len as usize, MremapFlags::MAYMOVE) }?;
    // SAFETY: no reference to the new mapping exists yet. (It may show nothing while it moves, and remap_file_pages
    // keeps the protection.)
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

/// Lengthens a reserved mapping of `len` bytes at `base` to `want` bytes if the addresses after it are free. Returns
/// whether they were.
#[allow(unsafe_code)]
pub(crate) fn lengthen(base: *mut u8, len: u64, want: u64) -> bool {
    // SAFETY: the last page of the mapping, which is not moved; what is added lies where nothing is mapped. The
    // kernel adds it with the rights of that page.
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

/// Removes a mapping to which no reference exists.
#[allow(unsafe_code)]
pub(crate) fn unmap(base: *mut u8, len: u64) {
    // SAFETY: the caller made the mapping, and no reference to it exists.
    let _ = unsafe { rustix::mm::munmap(base.cast(), len as usize) };
}

/// Allows access to `len` bytes from `at` on. Repeating the call changes nothing.
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

/// Keeps this memory out of this process's core file. It belongs to other processes too, and reading its holes would
/// fill them.
#[allow(unsafe_code)]
fn keep_out_of_core_files(base: *mut u8, len: u64) {
    // SAFETY: a mapping of ours, of which this changes no contents.
    let _ = unsafe { rustix::mm::madvise(base.cast(), len as usize, Advice::LinuxDontDump) };
}

/// Makes the pages of `len` bytes from `at` on exist, so that touching them cannot fail. The range must be open.
/// `file` returns the descriptor, if one is available, and `offset` is the range's position in the file.
///
/// `MADV_POPULATE_WRITE` (Linux 5.14) also enters the pages into this process's page table. Older kernels use
/// `fallocate`.
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
            // SAFETY: the memory is open (the caller guarantees it), and populating it changes no contents.
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
            // SAFETY: the memory is open. Adding no bit to a byte does not change it, whoever else uses it.
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

/// Frees the pages of `len` bytes from `at` on; they read as zero afterwards. The system refuses if they are locked
/// into memory.
#[allow(unsafe_code)]
pub(crate) fn remove(at: *mut u8, len: u64) -> Result<(), Errno> {
    loop {
        // SAFETY: the memory is open, and the caller owns it and gives up its contents.
        match unsafe { rustix::mm::madvise(at.cast(), len as usize, Advice::LinuxRemove) } {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// Frees pages like [`remove`], but by position in the file.
pub(crate) fn punch(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(fd, flags, offset, len) {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// Returns how many bytes of memory this process may use: the machine's, or the limit of its control group if that is
/// lower.
pub(crate) fn available() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit.max(1));
    super::cgroup::memory_limit().map_or(machine, |limit| limit.min(machine))
}

/// Aborts this process, for an error that cannot be reported in another way. Writes `text` to standard error.
pub(crate) fn abort(text: &str) -> ! {
    super::stdio::write_error(text);
    std::process::abort()
}
