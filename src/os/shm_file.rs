//! Files of shared memory with names, as `shm_open(3)` makes them; locks on them, and their mappings.
//!
//! The locks are flock(2)'s: they belong to the open file, which a mapping keeps open, too; so one lasts until
//! the last descriptor and the last mapping of that opening are gone, and the kernel ends it with the process.

use super::file_facts::{FileFacts, MARKED};
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RawMode};
use rustix::io::Errno;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Where `shm_open(3)` has them.
const FOLDER: &str = "/dev/shm";

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
