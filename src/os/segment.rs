//! System V shared memory (shmget(2)), for use where a limit on file sizes forbids a file.

use super::memory::reserve_again;
use crate::error::Result;
use rustix::io::Errno;

/// Makes a System V segment of `size` bytes that occupies no memory yet, and returns its number. It exists until it
/// was attached and [forgotten](forget_segment).
#[allow(unsafe_code)]
pub(crate) fn create_segment(size: u64) -> Result<i32> {
    let flags = libc::IPC_CREAT | SHM_NORESERVE | 0o600;
    // SAFETY: integers only.
    match unsafe { libc::shmget(libc::IPC_PRIVATE, size as usize, flags) } {
        -1 => Err(super::last_error("shmget")),
        number => Ok(number),
    }
}

/// See shmget(2). The libc crate defines this constant for some targets only.
const SHM_NORESERVE: i32 = 0o10000;

/// Marks the segment for removal: it goes when no process has it attached. Until then a process that knows its number
/// can attach it.
#[allow(unsafe_code)]
pub(crate) fn forget_segment(number: i32) {
    // SAFETY: the command takes no buffer.
    unsafe { libc::shmctl(number, libc::IPC_RMID, core::ptr::null_mut()) };
}

/// Returns the size of a segment.
#[allow(unsafe_code)]
pub(crate) fn segment_size(number: i32) -> Result<u64> {
    let mut facts = core::mem::MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the call fills the structure, for which all zero is valid, too.
    unsafe {
        match libc::shmctl(number, libc::IPC_STAT, facts.as_mut_ptr()) {
            0 => Ok(facts.assume_init().shm_segsz as u64),
            _ => Err(super::last_error("shmctl")),
        }
    }
}

/// Reserves addresses for the first `len` bytes of a segment, as [`reserve`](super::memory::reserve) does for a file.
#[allow(unsafe_code)]
pub(crate) fn reserve_segment(number: i32, len: u64) -> Result<*mut u8, Errno> {
    // SAFETY: the kernel chooses the address. A segment can only be attached as a whole, which is more than is
    // wanted. So a second mapping is made of a part of it, and the first, to which no reference exists, is removed.
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
