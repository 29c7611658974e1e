//! The handshake of Python's `multiprocessing.connection`: each side proves to the other that it has the key.
//!
//! A state machine: bytes go in, bytes come out, until the handshake is done or has failed. This file makes no system
//! call. README.md beside this file has the protocol.

use super::digest::Digest;
use super::frame::{self, Decoder};
use crate::error::{AuthenticationError, Error, Result};

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";
/// The longest message of a handshake.
const LIMIT: u64 = 256;
/// The shortest challenge that is answered. Challenges of Python up to 3.11 have this length.
const MIN_CHALLENGE: usize = 20;
/// Lengths of a challenge and of a code without a digest's name. Python up to 3.11 sends these, and uses MD5.
const UNNAMED: [usize; 2] = [20, 16];
/// The digest that this side's challenge names.
const OURS: Digest = Digest::Sha256;

/// The number of random bytes in a challenge.
pub(crate) const NONCE: usize = 40;

/// The side of a handshake. The listener sends the first challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Listener,
    Client,
}

/// The message that a side waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The peer's answer to the challenge.
    Response,
    /// The peer's challenge.
    Challenge,
    /// The peer's verdict on this side's answer.
    Verdict,
    Done,
}

/// A handshake in progress.
pub(crate) struct Handshake {
    side: Side,
    stage: Stage,
    key: Vec<u8>,
    challenge: Vec<u8>,
    decoder: Decoder,
    out: Vec<u8>,
}

impl Handshake {
    /// Begins a handshake. `nonce` must be random, and never have been used before.
    pub(crate) fn new(side: Side, key: &[u8], nonce: [u8; NONCE]) -> Self {
        let mut challenge = format!("{{{}}}", OURS.name()).into_bytes();
        challenge.extend_from_slice(&nonce);
        let mut handshake = Self {
            side,
            stage: Stage::Challenge,
            key: key.to_vec(),
            challenge,
            decoder: Decoder::new(LIMIT),
            out: Vec::new(),
        };
        if side == Side::Listener {
            handshake.ask();
        }
        handshake
    }

    /// Sends this side's challenge.
    fn ask(&mut self) {
        let message = [CHALLENGE, &self.challenge].concat();
        frame::append(&message, &mut self.out);
        self.stage = Stage::Response;
    }

    /// Returns the bytes to be sent to the peer. There may be some after a failure, too.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.out
    }

    /// Removes the first `n` outgoing bytes, which were sent.
    pub(crate) fn sent(&mut self, n: usize) {
        self.out.drain(..n);
    }

    /// Returns whether both sides have proved that they have the key. The outgoing bytes must still be sent.
    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Returns the buffer for the peer's next bytes.
    pub(crate) fn room(&mut self) -> Result<&mut [u8]> {
        self.decoder.room().map_err(garbled)
    }

    /// Takes the first `n` bytes of the [`room`](Self::room), which were written.
    pub(crate) fn filled(&mut self, n: usize) -> Result<()> {
        match self.decoder.filled(n).map_err(garbled)? {
            Some(message) => self.take(&message),
            None => Ok(()),
        }
    }

    /// Takes one message of the peer. A listener challenges first and then answers; a client answers first.
    fn take(&mut self, message: &[u8]) -> Result<()> {
        match self.stage {
            Stage::Response => {
                if let Err(error) = verify(&self.key, &self.challenge, message) {
                    frame::append(FAILURE, &mut self.out);
                    return Err(error.into());
                }
                frame::append(WELCOME, &mut self.out);
                self.stage = match self.side {
                    Side::Listener => Stage::Challenge,
                    Side::Client => Stage::Done,
                };
            }
            Stage::Challenge => {
                let answer = respond(&self.key, message)?;
                frame::append(&answer, &mut self.out);
                self.stage = Stage::Verdict;
            }
            Stage::Verdict if message == WELCOME => match self.side {
                Side::Listener => self.stage = Stage::Done,
                Side::Client => self.ask(),
            },
            Stage::Verdict => return Err(AuthenticationError::Rejected.into()),
            Stage::Done => return Err(nonsense("a message after the end of the handshake").into()),
        }
        Ok(())
    }
}

/// Turns an error of the decoder into the handshake's error.
fn garbled(error: Error) -> Error {
    nonsense(&error.to_string()).into()
}

/// Returns the error for a message that is not part of the protocol.
fn nonsense(reason: &str) -> AuthenticationError {
    AuthenticationError::Garbled {
        reason: reason.to_owned(),
    }
}

/// Splits a challenge or an answer into the digest that it names, and the bytes after the name. Messages of Python up
/// to 3.11 name none.
fn named(message: &[u8]) -> Result<(Option<Digest>, &[u8]), AuthenticationError> {
    if UNNAMED.contains(&message.len()) {
        return Ok((None, message));
    }
    let close = message.iter().position(|&byte| byte == b'}');
    let digest = match (message.split_first(), close) {
        (Some((b'{', _)), Some(close)) => Digest::named(&message[1..close]).zip(Some(&message[close + 1..])),
        _ => None,
    };
    match digest {
        Some((digest, rest)) => Ok((Some(digest), rest)),
        None => Err(nonsense("it names no digest, or one that is not supported")),
    }
}

/// Returns the answer to a challenge.
fn respond(key: &[u8], message: &[u8]) -> Result<Vec<u8>, AuthenticationError> {
    let Some(challenge) = message.strip_prefix(CHALLENGE) else {
        return Err(nonsense("it does not begin with a challenge"));
    };
    if challenge.len() < MIN_CHALLENGE {
        return Err(nonsense("the challenge is too short"));
    }
    // The code covers the name of the digest, so nobody on the way can replace it by a weaker digest.
    Ok(match named(challenge)?.0 {
        None => Digest::Md5.code(key, challenge),
        Some(digest) => {
            let mut answer = format!("{{{}}}", digest.name()).into_bytes();
            answer.extend(digest.code(key, challenge));
            answer
        }
    })
}

/// Checks that `response` proves that the peer has the key.
fn verify(key: &[u8], challenge: &[u8], response: &[u8]) -> Result<(), AuthenticationError> {
    let (digest, code) = named(response)?;
    if digest.unwrap_or(Digest::Md5).verify(key, challenge, code) {
        Ok(())
    } else {
        Err(AuthenticationError::WrongKey)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn feed(to: &mut Handshake, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = to.room()?;
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            to.filled(n)?;
        }
        Ok(())
    }

    /// Passes bytes between two sides until neither has any left. Returns the outcome for each side.
    fn talk(listener: &mut Handshake, client: &mut Handshake) -> [Result<()>; 2] {
        let mut ends = [Ok(()), Ok(())];
        while !listener.out.is_empty() || !client.out.is_empty() {
            for turn in [0, 1] {
                let (from, to) = if turn == 0 {
                    (&mut *listener, &mut *client)
                } else {
                    (&mut *client, &mut *listener)
                };
                let bytes = from.outgoing().to_vec();
                from.sent(bytes.len());
                if ends[1 - turn].is_ok() {
                    ends[1 - turn] = feed(to, &bytes);
                }
            }
        }
        ends
    }

    fn two(ours: &[u8], theirs: &[u8]) -> (Handshake, Handshake) {
        (
            Handshake::new(Side::Listener, ours, [1; NONCE]),
            Handshake::new(Side::Client, theirs, [2; NONCE]),
        )
    }

    #[test]
    fn a_peer_with_the_key_is_accepted() {
        for key in [&b"a key"[..], b"", &[7; 500]] {
            let (mut listener, mut client) = two(key, key);
            assert_eq!(talk(&mut listener, &mut client), [Ok(()), Ok(())]);
            assert!(listener.is_done() && client.is_done());
        }
    }

    #[test]
    fn a_peer_without_the_key_is_refused() {
        let (mut listener, mut client) = two(b"a key", b"another");
        let ends = talk(&mut listener, &mut client);
        assert_eq!(ends[0], Err(AuthenticationError::WrongKey.into()));
        assert_eq!(ends[1], Err(AuthenticationError::Rejected.into()));
    }

    #[test]
    fn the_answer_uses_the_digest_of_the_challenge() {
        let mut old = CHALLENGE.to_vec();
        old.extend([b'x'; 20]);
        let answer = respond(b"key", &old).expect("a challenge");
        assert_eq!(answer.len(), 16);
        assert!(verify(b"key", &[b'x'; 20], &answer).is_ok());
        for name in ["md5", "sha256", "sha384", "sha3_256", "sha3_384"] {
            let challenge = format!("{{{name}}}{}", "y".repeat(NONCE));
            let message = [CHALLENGE, challenge.as_bytes()].concat();
            let answer = respond(b"key", &message).expect("a challenge");
            assert!(answer.starts_with(format!("{{{name}}}").as_bytes()));
            assert!(verify(b"key", challenge.as_bytes(), &answer).is_ok());
            let mut wrong = answer.clone();
            *wrong.last_mut().expect("a code") ^= 1;
            assert_eq!(
                verify(b"key", challenge.as_bytes(), &wrong),
                Err(AuthenticationError::WrongKey)
            );
        }
    }

    #[test]
    fn messages_outside_the_protocol_are_errors() {
        for wrong in [
            &b"#CHALLENGE"[..],
            b"#CHALLENGE#short",
            b"#CHALLENGE#{sha1}0123456789012345678901234567",
            b"#CHALLENGE#0123456789012345678901234567",
            b"",
        ] {
            let mut client = Handshake::new(Side::Client, b"key", [2; NONCE]);
            let mut bytes = Vec::new();
            frame::append(wrong, &mut bytes);
            let end = feed(&mut client, &bytes);
            assert!(
                matches!(
                    end,
                    Err(Error::Authentication(AuthenticationError::Garbled { .. }))
                ),
                "{end:?}"
            );
        }
        let mut listener = Handshake::new(Side::Listener, b"key", [1; NONCE]);
        let end = feed(&mut listener, b"GET / HTTP/1.1\r\n");
        assert!(matches!(end, Err(Error::Authentication(_))), "{end:?}");
    }
}
