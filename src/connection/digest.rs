//! Message authentication codes (HMAC), with the names that the handshake uses for their digests.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Sha256, Sha384};
use sha3::{Sha3_256, Sha3_384};

/// A hash function that the handshake may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// The only digest of Python up to 3.11.
    Md5,
    Sha256,
    Sha384,
    Sha3_256,
    Sha3_384,
}

impl Digest {
    /// Returns the digest with this name, if the handshake may use it.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"md5" => Self::Md5,
            b"sha256" => Self::Sha256,
            b"sha384" => Self::Sha384,
            b"sha3_256" => Self::Sha3_256,
            b"sha3_384" => Self::Sha3_384,
            _ => return None,
        })
    }

    /// Returns the name of the digest in the handshake.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
        }
    }

    /// Returns the authentication code of a message.
    pub(super) fn code(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => keyed::<Hmac<Md5>>(key, message).finalize().into_bytes().to_vec(),
            Self::Sha256 => keyed::<Hmac<Sha256>>(key, message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Sha384 => keyed::<Hmac<Sha384>>(key, message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Sha3_256 => keyed::<Hmac<Sha3_256>>(key, message)
                .finalize()
                .into_bytes()
                .to_vec(),
            Self::Sha3_384 => keyed::<Hmac<Sha3_384>>(key, message)
                .finalize()
                .into_bytes()
                .to_vec(),
        }
    }

    /// Returns whether `code` is the authentication code of a message. The comparison takes constant time.
    pub(super) fn verify(self, key: &[u8], message: &[u8], code: &[u8]) -> bool {
        match self {
            Self::Md5 => keyed::<Hmac<Md5>>(key, message).verify_slice(code),
            Self::Sha256 => keyed::<Hmac<Sha256>>(key, message).verify_slice(code),
            Self::Sha384 => keyed::<Hmac<Sha384>>(key, message).verify_slice(code),
            Self::Sha3_256 => keyed::<Hmac<Sha3_256>>(key, message).verify_slice(code),
            Self::Sha3_384 => keyed::<Hmac<Sha3_384>>(key, message).verify_slice(code),
        }
        .is_ok()
    }
}

/// Returns a code in progress, after `message`.
fn keyed<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> M {
    let mac = <M as KeyInit>::new_from_slice(key).expect("a key may have any length");
    mac.chain_update(message)
}
