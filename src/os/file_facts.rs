//! What the file system says about a file of shared memory: size, owner, marks and age.

use crate::error::{Error, Result};
use rustix::fs::{RawMode, Stat};
use std::ffi::CString;
use std::os::fd::BorrowedFd;

/// The mode of a file that is removed with its last user. The sticky bit has no meaning to the system on a file; here
/// it is the mark.
pub(super) const MARKED: RawMode = 0o1600;
/// A further mark on such a file: the program that made it has ended. The file has no other use for the set-user-ID
/// bit.
const LEFT: RawMode = 0o4000;

/// What is known about a file.
pub(crate) struct FileFacts {
    pub size: u64,
    pub marked: bool,
    /// The program that made the file has ended.
    pub left: bool,
    identity: (u64, u64),
    /// Seconds since the file was made or named.
    pub age: i64,
}

impl FileFacts {
    /// Reads the facts; `None` for anything but an ordinary file of this user.
    pub(super) fn of(stat: &Stat) -> Option<Self> {
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

/// Returns the facts about an open file.
pub(crate) fn facts(file: BorrowedFd<'_>) -> Result<FileFacts> {
    let stat = rustix::fs::fstat(file).map_err(|e| Error::errno("fstat", e))?;
    FileFacts::of(&stat).ok_or_else(|| {
        Error::os(
            "what has the name is not shared memory of this user",
            libc::EACCES,
        )
    })
}

/// Returns whether the name still refers to this file.
pub(crate) fn leads_to(path: &CString, file: BorrowedFd<'_>) -> bool {
    let there = rustix::fs::lstat(path.as_c_str())
        .ok()
        .and_then(|stat| FileFacts::of(&stat));
    matches!((there, facts(file)), (Some(there), Ok(file)) if there.identity == file.identity)
}
