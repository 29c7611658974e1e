//! The program's image: the file that it was started from, and the place of its code in memory.

use crate::error::{Error, Result};
use std::os::unix::fs::MetadataExt;

/// Returns a number that tells this build of the program from any other. A function is sent as its position in the
/// image; in another image the position means another function, or none.
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

/// The running program's file. This link refers to it even if the path was replaced meanwhile.
pub(crate) const OWN: &str = "/proc/self/exe";

/// Returns the address of `function` relative to a function of this crate. Both are in the same image, which is
/// loaded as a whole.
pub(crate) fn position(function: usize) -> i64 {
    function.wrapping_sub(anchor as *const () as usize) as i64
}

/// Returns the address that `position` means in this process.
pub(crate) fn address(position: i64) -> usize {
    (anchor as *const () as usize).wrapping_add(position as usize)
}

#[inline(never)]
extern "C" fn anchor() {}
