//! Random numbers from the kernel.

use crate::error::{Error, Result};

/// Returns eight random bytes, for identities that must not be guessed or repeated.
pub(crate) fn random() -> Result<u64> {
    random_bytes().map(u64::from_ne_bytes)
}

/// Returns up to 256 random bytes. The kernel returns that many in one piece.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    const { assert!(N <= 256) };
    let mut bytes = [0u8; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::errno("getrandom", e))?;
    Ok(bytes)
}
