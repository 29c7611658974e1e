//! Files of shared memory with names, as `shm_open(3)` makes them, and locks on them.
//!
//! The locks are those of flock(2). Such a lock belongs to the open file description, which a mapping keeps alive,
//! too. So it lasts until the last descriptor and the last mapping of that description are gone, and the kernel
//! releases it when the process ends.

use super::file_facts::{FileFacts, MARKED};
use crate::error::{Error, Result};
use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RawMode};
use rustix::io::Errno;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// The folder that `shm_open(3)` uses.
const FOLDER: &str = "/dev/shm";

/// The mode of a file that stays until it is unlinked.
const PLAIN: RawMode = 0o600;

/// Returns the path for a name that contains no `/` and no NUL.
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

/// Makes a file of `size` bytes that has no name yet. Its pages exist.
pub(crate) fn unnamed(size: u64, marked: bool) -> Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(FOLDER, flags, Mode::from_raw_mode(PLAIN))
        .map_err(|e| Error::errno("a file in /dev/shm", e))?;
    // This mode does not depend on the umask.
    let mode = Mode::from_raw_mode(if marked { MARKED } else { PLAIN });
    rustix::fs::fchmod(&file, mode).map_err(|e| Error::errno("fchmod", e))?;
    // Beyond RLIMIT_FSIZE the system sends a signal that kills, instead of returning an error.
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

/// Gives the file a name; `EEXIST` if the name is in use.
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

/// Opens the file of this name.
pub(crate) fn open(path: &CString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    again(|| rustix::fs::open(path.as_c_str(), flags, Mode::empty()))
}

/// Removes the name.
pub(crate) fn unlink(path: &CString) -> Result<(), Errno> {
    rustix::fs::unlink(path.as_c_str())
}

/// Takes the shared lock on the file, which says that this process uses it. Waits while another process checks
/// whether the file can be removed.
pub(crate) fn share(file: BorrowedFd<'_>) -> Result<()> {
    again(|| rustix::fs::flock(file, FlockOperation::LockShared)).map_err(|e| Error::errno("flock", e))
}

/// Takes the exclusive lock on the file, if no process uses the file. Returns whether it got the lock.
pub(crate) fn try_own(file: BorrowedFd<'_>) -> bool {
    again(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)).is_ok()
}

/// Returns whether this process holds the file's lock and no other process does, according to `/proc/locks`; false if
/// that file cannot be read.
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

/// Returns the names of all marked files that are older than `older` seconds.
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
