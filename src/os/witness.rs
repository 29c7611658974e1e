//! A witness of life that the kernel keeps: a lock on one byte of an open file, which goes when the process does.
//!
//! The lock belongs to an *open file description* (`F_OFD_SETLK`, fcntl(2)), not to a process, and is given up when the last
//! reference to that is gone. The parent of a process opens the file anew and takes the lock, before there is a child; the
//! child inherits the description, maps a page of it, and closes the descriptor. The mapping is a reference, too, which
//! nobody can close: it goes with the process's memory, so when nobody can write to what is shared any more: at its end,
//! however it ends, and at `execve`. A child of the child does not get it (`MADV_DONTFORK`).
//!
//! Whether the lock is held is one question (`F_OFD_GETLK`) through any other description of the file. Process numbers and
//! their namespaces, /proc and pidfds play no part in it.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors with locks for children that are about to be started: a child that is forked meanwhile must not keep them. 0
/// where there is none.
static OPEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// What a place in [`OPEN`] says.
#[derive(Clone, Copy)]
struct Entry {
    number: RawFd,
    byte: u64,
    /// Whether no handle owns the descriptor any more.
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

/// A description with a lock for a process that is about to be, as long as this process has a descriptor of it.
#[derive(Debug)]
pub(crate) struct Claim {
    fd: OwnedFd,
    /// Where in [`OPEN`].
    place: usize,
}

impl Claim {
    /// Leaves it open, for [`give_up`] or [`close_inherited`].
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

/// Makes an empty file without a name, to take locks on; `None` where there is no descriptor left.
pub(crate) fn empty_file() -> Option<OwnedFd> {
    rustix::fs::memfd_create("procession", rustix::fs::MemfdFlags::CLOEXEC).ok()
}

/// Another open file description of `file`; `None` without /proc, or a descriptor.
pub(crate) fn reopen(file: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let fd = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // Standard streams that were closed do not become a lock.
    if fd.as_raw_fd() < 3 {
        return rustix::io::fcntl_dupfd_cloexec(&fd, 3).ok();
    }
    Some(fd)
}

/// Opens `file` anew and takes the lock on `byte`. `None` where that cannot be done: there is no /proc or no descriptor left,
/// the system does not know such locks, somebody has this one.
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

/// Closes the descriptor of a claim that was [left open](Claim::into_raw), if it still is one: the program may have closed it
/// and have something else under its number.
pub(crate) fn give_up(number: RawFd, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    close_those(|entry| entry.left_open && entry.number == number, is_ours);
}

/// Closes a descriptor that was sent to this process, if it is one of the file on which lives are witnessed.
pub(crate) fn close_sent(number: RawFd, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    if let Some(fd) = borrow(number)
        && is_ours(fd)
    {
        close(number);
    }
}

/// The same for whatever was left open of the lock on `byte`.
pub(crate) fn give_up_byte(byte: u64, is_ours: impl Fn(BorrowedFd<'_>) -> bool) {
    close_those(|entry| entry.left_open && entry.byte == byte, is_ours);
}

/// In a forked child: closes its copies of the locks that were meant for others, and of its own, which it [keeps](keep); not
/// `but`, which the thread that forked has a handle of.
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

/// Keeps the lock of the description behind `fd` for as long as this process has its memory, whatever becomes of `fd`.
#[allow(unsafe_code)]
pub(crate) fn keep(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let len = rustix::param::page_size();
    // SAFETY: a fresh mapping at an address of the kernel's choice, which nobody reads or writes and which stays for ever.
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
        // SAFETY: the page was just mapped and nobody refers to it; the advice changes nothing for this process.
        if let Err(errno) = unsafe { rustix::mm::madvise(page, len, advice) }
            && advice == Advice::LinuxDontFork
        {
            // SAFETY: as above; a child must not keep its parent's lock, so there is none to keep.
            let _ = unsafe { rustix::mm::munmap(page, len) };
            return Err(errno);
        }
    }
    Ok(())
}

/// Whether somebody holds the lock on `byte`, asked through a description that holds none itself; `None` where the system
/// does not say.
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

/// The descriptor of that number; `None` for a negative one.
#[allow(unsafe_code)]
pub(crate) fn borrow<'a>(number: RawFd) -> Option<BorrowedFd<'a>> {
    // SAFETY: only its identity is asked before anything is done with it; a number that is not open answers with an error.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

#[allow(unsafe_code)]
fn close(number: RawFd) {
    // SAFETY: a copy of a descriptor of ours, as the caller has checked, whose owner lives in the parent's memory only.
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
        assert!(super::claim(file.as_fd(), 7).is_none(), "nobody else gets it");
    }
}
