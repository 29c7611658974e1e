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

/// Raises the limit on the size of files to `size`: the soft one, and the hard one where this process may.
fn raise(from: Rlimit, size: u64) -> bool {
    let enough = Rlimit {
        current: Some(size),
        maximum: from.maximum.map(|most| most.max(size)),
    };
    setrlimit(Resource::Fsize, enough).is_ok()
}

/// A System V segment of `size` bytes, of which none has memory yet; its number. It stays until it is attached and
/// [forgotten](forget_segment).
#[allow(unsafe_code)]
pub(crate) fn create_segment(size: u64) -> Result<i32> {
    let flags = libc::IPC_CREAT | SHM_NORESERVE | 0o600;
    // SAFETY: integers only.
    match unsafe { libc::shmget(libc::IPC_PRIVATE, size as usize, flags) } {
        -1 => Err(super::last_error("shmget")),
        number => Ok(number),
    }
}

/// shmget(2); the libc crate names it for some targets only.
const SHM_NORESERVE: i32 = 0o10000;

/// Has the segment go when nobody has it attached any more; whoever has its number can attach it until then.
#[allow(unsafe_code)]
pub(crate) fn forget_segment(number: i32) {
    // SAFETY: the command takes no buffer.
    unsafe { libc::shmctl(number, libc::IPC_RMID, core::ptr::null_mut()) };
}

/// Bytes of a segment.
#[allow(unsafe_code)]
pub(crate) fn segment_size(number: i32) -> Result<u64> {
    let mut facts = core::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the structure is there to be filled, and all its values may be zero.
    unsafe {
        match libc::shmctl(number, libc::IPC_STAT, facts.as_mut_ptr()) {
            0 => Ok(facts.assume_init().shm_segsz as u64),
            _ => Err(super::last_error("shmctl")),
        }
    }
}

/// Reserves addresses for the first `len` bytes of a segment, as [`reserve`] does.
#[allow(unsafe_code)]
pub(crate) fn reserve_segment(number: i32, len: u64) -> Result<*mut u8, Errno> {
    // SAFETY: attached at an address of the kernel's choice. It can only be attached as a whole, which is more than we want, so
    // another mapping is made of a part of it, and this one, which nobody knows, goes.
    unsafe {
        let whole = libc::shmat(number, core::ptr::null(), 0);
        if whole.addr() == usize::MAX {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM));
        }
        let part = reserve_again(whole.cast(), 0, len);
        libc::shmdt(whole);
        part
    }
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
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    std::process::abort()
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
