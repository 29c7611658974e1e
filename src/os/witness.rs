//! The witness: proof, kept by the kernel, that a process lives. It is a lock on one byte of an open file, which the
//! kernel releases when the process ends.
//!
//! The lock belongs to an *open file description* (`F_OFD_SETLK`, fcntl(2)), not to a process. The kernel releases it
//! with the last reference to the description:
//!
//! 1. The parent opens the file anew and takes the lock, before there is a child ([`claim`]).
//! 2. The child inherits the description, maps a page of it ([`keep`]), and closes the descriptor. The mapping is a
//!    reference, too, and nothing in the process can close it by mistake.
//! 3. The kernel drops the mapping with the process's memory, so at a moment when the process can no longer write to
//!    shared memory: at its end, however it ends, and at `execve`. A child of the child does not get the mapping
//!    (`MADV_DONTFORK`).
//!
//! Whether the lock is held is one question (`F_OFD_GETLK`), asked through any other description of the file
//! ([`is_held`]). Process numbers, their namespaces, /proc and pidfds play no part.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors with locks for children that are about to be started. A child that is forked meanwhile must not keep
/// them. 0 marks a free place.
static OPEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// The content of a place in [`OPEN`].
#[derive(Clone, Copy)]
struct Entry {
    number: RawFd,
    byte: u64,
    /// No handle owns the descriptor any more.
    left_open: bool,
}

impl Entry {
    fn to_word(self) -> u64 {
        (self.number as u64 + 1) | self.byte << 32 | u64::from(self.left_open) << 63
    }

    fn of(word: u64) -> Option<Self> {
        (word != 0).then(|| Self {
            number: (word as u32 - 1).cast_signed(),
            byte: word >> 32 & 0x7FFF_FFFF,
            left_open: word >> 63 != 0,
        })
    }
}

/// A description with a lock for a process that is about to be started. It lives as long as this process has a
/// descriptor of it.
#[derive(Debug)]
pub(crate) struct Claim {
    fd: OwnedFd,
    /// Index in [`OPEN`].
    place: usize,
}

impl Claim {
    /// Leaves the descriptor open, for [`give_up`] or [`close_inherited`].
    pub(crate) fn into_raw(self) -> RawFd {
        let number = self.fd.as_raw_fd();
        let place = &OPEN[self.place];
        if let Some(entry) = Entry::of(place.load(Ordering::Acquire)) {
            let left = Entry {
                left_open: true,
                ..entry
            };
            place.store(left.to_word(), Ordering::Release);
        }
        core::mem::forget(self);
        number
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        OPEN[self.place].store(0, Ordering::Release);
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes an empty file without a name, to take locks on; `None` if there is no free descriptor.
pub(crate) fn empty_file() -> Option<OwnedFd> {
    rustix::fs::memfd_create("procession", rustix::fs::MemfdFlags::CLOEXEC).ok()
}

/// Opens another open file description of `file`; `None` without /proc, or without a free descriptor.
pub(crate) fn reopen(file: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let fd = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // If standard streams were closed, the lock must not take their numbers.
    if fd.as_raw_fd() < 3 {
        return rustix::io::fcntl_dupfd_cloexec(&fd, 3).ok();
    }
    Some(fd)
}

/// Opens `file` anew and takes the lock on `byte`. Returns `None` where that is impossible: there is no /proc or no
/// free descriptor, the system has no such locks, or the lock is held.
pub(crate) fn claim(file: BorrowedFd<'_>, byte: u64) -> Option<Claim> {
    let fd = reopen(file)?;
    let mut lock = byte_of(byte, libc::F_WRLCK);
    ask(fd.as_fd(), libc::F_OFD_SETLK, &mut lock).ok()?;
    let entry = Entry {
        number: fd.as_raw_fd(),
        byte,
        left_open: false,
    };
    let place = OPEN.iter().position(|place| {
        place
            .compare_exchange(0, entry.to_word(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    })?;
    Some(Claim { fd, place })
}

/// Closes the descriptor of a claim that was [left open](Claim::into_raw), if the number still refers to it: the
/// program may have closed it and opened something else.
pub(crate) fn give_up(number: RawFd, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    close_those(|entry| entry.left_open && entry.number == number, is_ours);
}

/// Closes a descriptor that was sent to this process, if it refers to the file of the witnesses.
pub(crate) fn close_sent(number: RawFd, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    if let Some(fd) = borrow(number)
        && is_ours(fd)
    {
        close(number);
    }
}

/// Closes whatever was left open of the lock on `byte`, like [`give_up`].
pub(crate) fn give_up_byte(byte: u64, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    close_those(|entry| entry.left_open && entry.byte == byte, is_ours);
}

/// Closes, in a forked child, its copies of the locks that were meant for other processes, and of its own, which it
/// [keeps](keep). It leaves `but` open, for which the thread that forked has a handle.
pub(crate) fn close_inherited(but: RawFd, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    close_those(|entry| entry.number != but, is_ours);
}

fn close_those(wanted: impl Fn(Entry) -> bool, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    for place in &OPEN {
        let word = place.load(Ordering::Acquire);
        if let Some(entry) = Entry::of(word)
            && wanted(entry)
            && place
                .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            && let Some(fd) = borrow(entry.number)
            && is_ours(fd)
        {
            close(entry.number);
        }
    }
}

/// Keeps the lock of the description of `fd` as long as this process has its memory, whatever happens to `fd`.
#[allow(unsafe_code)]
pub(crate) fn keep(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let len = rustix::param::page_size();
    // SAFETY: a fresh mapping at an address of the kernel's choice, which is never read or written and never removed.
    let page = unsafe {
        rustix::mm::mmap(
            core::ptr::null_mut(),
            len,
            ProtFlags::READ,
            MapFlags::SHARED,
            fd,
            0,
        )?
    };
    for advice in [Advice::LinuxDontFork, Advice::LinuxDontDump] {
        // SAFETY: the page was just mapped and no reference to it exists; the advice changes nothing for this
        // process.
        if let Err(errno) = unsafe { rustix::mm::madvise(page, len, advice) }
            && advice == Advice::LinuxDontFork
        {
            // SAFETY: as above. A child must not keep its parent's lock, so without the advice this process cannot
            // keep one.
            let _ = unsafe { rustix::mm::munmap(page, len) };
            return Err(errno);
        }
    }
    Ok(())
}

/// Returns whether the lock on `byte` is held. Asked through a description that holds no lock itself; `None` where
/// the system does not answer.
pub(crate) fn is_held(file: BorrowedFd<'_>, byte: u64) -> Option<bool> {
    let mut lock = byte_of(byte, libc::F_WRLCK);
    ask(file, libc::F_OFD_GETLK, &mut lock).ok()?;
    Some(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[allow(unsafe_code)]
fn byte_of(byte: u64, kind: i32) -> libc::flock {
    // SAFETY: zero is valid for every field of it.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte as libc::off_t;
    lock.l_len = 1;
    lock
}

#[allow(unsafe_code)]
fn ask(file: BorrowedFd<'_>, command: i32, lock: &mut libc::flock) -> Result<(), Errno> {
    loop {
        // SAFETY: a descriptor that is borrowed and a valid, writable structure.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, core::ptr::from_mut(lock)) } != -1 {
            return Ok(());
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::INTR) => {}
            errno => return Err(errno.unwrap_or(Errno::IO)),
        }
    }
}

/// Returns the descriptor of this number; `None` for a negative number.
#[allow(unsafe_code)]
pub(crate) fn borrow<'a>(number: RawFd) -> Option<BorrowedFd<'a>> {
    // SAFETY: its identity is checked before anything is done with it; for a number that is not open the check fails.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

#[allow(unsafe_code)]
fn close(number: RawFd) {
    // SAFETY: a copy of a descriptor of ours, as the caller has checked; its owner exists in the parent's memory
    // only.
    unsafe { libc::close(number) };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        rustix::fs::memfd_create("witness", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd")
    }

    #[test]
    fn a_lock_is_seen_while_its_description_is_open_or_mapped() {
        let file = file();
        assert_eq!(is_held(file.as_fd(), 7), Some(false));
        let claim = claim(file.as_fd(), 7).expect("a claim");
        assert_eq!(is_held(file.as_fd(), 7), Some(true));
        assert_eq!(is_held(file.as_fd(), 6), Some(false));
        keep(claim.as_fd()).expect("a mapping");
        drop(claim);
        assert_eq!(is_held(file.as_fd(), 7), Some(true), "the mapping keeps it");
        assert!(super::claim(file.as_fd(), 7).is_none(), "no other claim succeeds");
    }
}
