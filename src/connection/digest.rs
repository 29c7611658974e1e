//! Message authentication codes, by the names that the handshake has for them.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Sha256, Sha384};
use sha3::{Sha3_256, Sha3_384};

/// A hash function that the handshake may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// What Python up to 3.11 knows, and nothing else.
    Md5,
    Sha256,
    Sha384,
    Sha3_256,
    Sha3_384,
}

impl Digest {
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

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha3_256 => "sha3_256",
            Self::Sha3_384 => "sha3_384",
        }
    }

    /// The code of a message.
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

    /// Whether `code` is the code of a message. It takes as long whether the first byte is wrong or the last.
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

fn keyed<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> M {
    let mac = <M as KeyInit>::new_from_slice(key).expect("a key of any length will do");
    mac.chain_update(message)
}
