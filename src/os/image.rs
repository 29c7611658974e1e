//! The program's image: which file it was started from, and where its code lies in memory.

use crate::error::{Error, Result};
use std::os::unix::fs::MetadataExt;

/// A number that tells this build of the program from any other: a function is sent as its position in the image, and
/// means something else, or nothing, in another one.
pub(crate) fn identity() -> Result<u64> {
    let file = std::fs::metadata(OWN).map_err(|error| {
        Error::os(
            "/proc/self/exe, which tells one build of a program from another (is /proc mounted?)",
            error.raw_os_error().unwrap_or(libc::ENOENT),
        )
    })?;
    let facts = [
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime() as u64,
        file.mtime_nsec() as u64,
    ];
    // FNV-1a, over the version of this crate too.
    let bytes = facts
        .iter()
        .flat_map(|f| f.to_ne_bytes())
        .chain(env!("CARGO_PKG_VERSION").bytes());
    Ok(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// The running program's file. The link follows it even when the path was replaced meanwhile.
pub(crate) const OWN: &str = "/proc/self/exe";

/// Where `function` lies, relative to a function of this crate. Both are in the same image, which is loaded as a whole.
pub(crate) fn position(function: usize) -> i64 {
    function.wrapping_sub(anchor as *const () as usize) as i64
}

/// The address that `position` stands for in this process.
pub(crate) fn address(position: i64) -> usize {
    (anchor as *const () as usize).wrapping_add(position as usize)
}

#[inline(never)]
extern "C" fn anchor() {}
