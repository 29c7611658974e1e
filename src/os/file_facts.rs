//! What a file of shared memory says about itself: size, owner, marks and age.

use crate::error::{Error, Result};
use rustix::fs::{RawMode, Stat};
use std::ffi::CString;
use std::os::fd::BorrowedFd;

/// Mode of a file that is to go with its last user. The sticky bit means nothing to the system on a file; here it is the mark.
pub(super) const MARKED: RawMode = 0o1600;
/// Further mark of such a file, which has no use for set-user-ID either: the program that made it has ended.
const LEFT: RawMode = 0o4000;

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
