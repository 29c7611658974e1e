//! System V shared memory (shmget(2)), for where a limit on the size of files forbids a file.

use super::memory::reserve_again;
use crate::error::Result;
use rustix::io::Errno;

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

/// Reserves addresses for the first `len` bytes of a segment, as [`reserve`](super::memory::reserve) does.
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
