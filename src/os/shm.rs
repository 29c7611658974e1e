//! Files of shared memory with names, as `shm_open(3)` makes them; locks on them, and their mappings.
//!
//! The locks are flock(2)'s: they belong to the open file, which a mapping keeps open, too; so one lasts until
//! the last descriptor and the last mapping of that opening are gone, and the kernel ends it with the process.

use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Where `shm_open(3)` has them.
const FOLDER: &str = "/dev/shm";

/// Mode of a file that is to go with its last user. The sticky bit means nothing to the system on a file; here it is the mark.
const MARKED: RawMode = 0o1600;
/// Further mark of such a file, which has no use for set-user-ID either: the program that made it has ended.
const LEFT: RawMode = 0o4000;
/// Mode of a file that stays until somebody unlinks it.
const PLAIN: RawMode = 0o600;

/// The path of a name that has no `/` and no NUL in it.
pub(crate) fn path(name: &str) -> Result<CString> {
    CString::new(format!("{FOLDER}/{name}")).map_err(|_| Error::os("a NUL byte in a name", libc::EINVAL))
}

/// Repeats `call` while signals interrupt it.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// A file of `size` bytes that exist, without a name yet.
pub(crate) fn unnamed(size: u64, marked: bool) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(FOLDER, flags, Mode::from_raw_mode(PLAIN))
        .map_err(|e| Error::errno("a file in /dev/shm", e))?;
    // Whatever the umask is.
    let mode = Mode::from_raw_mode(if marked { MARKED } else { PLAIN });
    rustix::fs::fchmod(&file, mode).map_err(|e| Error::errno("fchmod", e))?;
    // Beyond RLIMIT_FSIZE there is a signal that kills instead of an error.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    let full = Error::OutOfMemory { requested: size };
    if limit.is_some_and(|limit| size > limit) {
        return Err(full);
    }
    match again(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size)) {
        Ok(()) => Ok(file),
        Err(Errno::NOSPC | Errno::NOMEM | Errno::FBIG) => Err(full),
        Err(errno) => Err(Error::errno("fallocate", errno)),
    }
}

/// Gives the file a name; `EEXIST` if something has it.
pub(crate) fn publish(file: BorrowedFd<'_>, path: &CString) -> Result<(), Errno> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(
        CWD,
        source.as_str(),
        CWD,
        path.as_c_str(),
        AtFlags::SYMLINK_FOLLOW,
    )
}

/// Opens what has the name.
pub(crate) fn open(path: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    again(|| rustix::fs::open(path.as_c_str(), flags, Mode::empty()))
}

/// Takes the name away.
pub(crate) fn unlink(path: &CString) -> Result<(), Errno> {
    rustix::fs::unlink(path.as_c_str())
}

/// Takes part in the file, waiting for whoever looks whether it can go.
pub(crate) fn share(file: BorrowedFd<'_>) -> Result<()> {
    again(|| rustix::fs::flock(file, FlockOperation::LockShared)).map_err(|e| Error::errno("flock", e))
}

/// Has the file alone, if nobody takes part in it.
pub(crate) fn try_own(file: BorrowedFd<'_>) -> bool {
    again(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)).is_ok()
}

/// Whether this process takes part in the file and no other does, as `/proc/locks` has it; no where that cannot be read.
pub(crate) fn is_only_ours(file: BorrowedFd<'_>) -> bool {
    let (Ok(stat), Ok(locks)) = (rustix::fs::fstat(file), std::fs::read_to_string("/proc/locks")) else {
        return false;
    };
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let place = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    // 7: FLOCK  ADVISORY  READ 1234 00:19:56 0 EOF
    let mut holders = locks
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&place.as_str()))
        .peekable();
    let me = std::process::id().to_string();
    holders.peek().is_some() && holders.all(|words| words[4] == me)
}

/// What is asked about a file.
pub(crate) struct FileFacts {
    pub size: u64,
    pub marked: bool,
    /// Whether the program that made it has ended.
    pub left: bool,
    identity: (u64, u64),
    /// Seconds since it was made or given its name.
    pub age: i64,
}

impl FileFacts {
    /// `None` for what is not an ordinary file of this user.
    fn of(stat: &Stat) -> Option<Self> {
        let ordinary = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        (ordinary && ours).then(|| Self {
            size: stat.st_size as u64,
            marked: stat.st_mode & 0o7777 & !LEFT == MARKED,
            left: stat.st_mode & LEFT != 0,
            identity: (stat.st_dev, stat.st_ino),
            age: now - stat.st_ctime,
        })
    }
}

/// The facts about an open file.
pub(crate) fn facts(file: BorrowedFd<'_>) -> Result<FileFacts> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::errno("fstat", e))?;
    FileFacts::of(&stat).ok_or_else(|| {
        Error::os(
            "what has the name is not shared memory of this user",
            libc::EACCES,
        )
    })
}

/// Whether the name leads to this file, still.
pub(crate) fn leads_to(path: &CString, file: BorrowedFd<'_>) -> bool {
    let there = rustix::fs::lstat(path.as_c_str())
        .ok()
        .and_then(|stat| FileFacts::of(&stat));
    matches!((there, facts(file)), (Some(there), Ok(file)) if there.identity == file.identity)
}

/// The marked files there are, by name, if they are older than so many seconds.
pub(crate) fn marked(older: i64) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(FOLDER) else {
        return Vec::new();
    };
    let names = folder.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
    names
        .filter_map(|name: OsString| name.into_string().ok())
        .filter(|name| {
            let stat = path(name)
                .ok()
                .and_then(|path| rustix::fs::lstat(path.as_c_str()).ok());
            stat.and_then(|stat| FileFacts::of(&stat))
                .is_some_and(|facts| facts.marked && facts.age > older)
        })
        .collect()
}

/// Shared memory in this process's address space. Others may change it at any time, so it is read and written by atomics.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: an address and a length that do not change; what is there is touched by atomics only.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The first `len` bytes of `file`, which has them.
    pub(crate) fn new(file: &OwnedFd, len: usize) -> Result<Self> {
        let base = super::memory::map(file.as_fd(), len as u64)?;
        Ok(Self { base, len })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies the bytes from `at` on; the caller has seen that they are there.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) {
        let (front, middle) = self.parts(at, into.len());
        let (first, rest) = into.split_at_mut(front);
        for (n, byte) in first.iter_mut().enumerate() {
            *byte = self.byte(at + n).load(Ordering::Relaxed);
        }
        let mut words = rest.chunks_exact_mut(8);
        for (n, word) in words.by_ref().enumerate() {
            let value = self.word(at + front + 8 * n).load(Ordering::Relaxed);
            word.copy_from_slice(&value.to_ne_bytes());
        }
        for (n, byte) in words.into_remainder().iter_mut().enumerate() {
            *byte = self.byte(at + front + middle + n).load(Ordering::Relaxed);
        }
    }

    /// Copies `from` to the bytes from `at` on; the caller has seen that they are there.
    pub(crate) fn write(&self, at: usize, from: &[u8]) {
        let (front, middle) = self.parts(at, from.len());
        let (first, rest) = from.split_at(front);
        for (n, &byte) in first.iter().enumerate() {
            self.byte(at + n).store(byte, Ordering::Relaxed);
        }
        let (words, rest) = rest.as_chunks::<8>();
        for (n, &word) in words.iter().enumerate() {
            self.word(at + front + 8 * n)
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        for (n, &byte) in rest.iter().enumerate() {
            self.byte(at + front + middle + n).store(byte, Ordering::Relaxed);
        }
    }

    /// How many of `len` bytes from `at` on lie before the first whole word, and how many in whole words.
    fn parts(&self, at: usize, len: usize) -> (usize, usize) {
        assert!(at <= self.len && len <= self.len - at, "the caller has looked");
        let front = (at.next_multiple_of(8) - at).min(len);
        (front, (len - front) / 8 * 8)
    }

    #[allow(unsafe_code)]
    fn byte(&self, at: usize) -> &AtomicU8 {
        assert!(at < self.len);
        // SAFETY: within the mapping, which lives as long as `self`.
        unsafe { AtomicU8::from_ptr(self.base.add(at)) }
    }

    #[allow(unsafe_code)]
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: within the mapping, which lives as long as `self` and begins at a page; aligned, as was seen.
        unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) }
    }

    /// The four bytes at `at` as an atomic; `None` if they are not there or not aligned.
    #[allow(unsafe_code)]
    pub(crate) fn atomic_u32(&self, at: usize) -> Option<&AtomicU32> {
        let there = at.is_multiple_of(4) && at.checked_add(4).is_some_and(|end| end <= self.len);
        // SAFETY: within the mapping and aligned, as was just seen.
        there.then(|| unsafe { AtomicU32::from_ptr(self.base.add(at).cast()) })
    }

    /// The eight bytes at `at` as an atomic; `None` if they are not there or not aligned.
    pub(crate) fn atomic_u64(&self, at: usize) -> Option<&AtomicU64> {
        let there = at.is_multiple_of(8) && at.checked_add(8).is_some_and(|end| end <= self.len);
        there.then(|| self.word(at))
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; every reference into it borrows `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}
