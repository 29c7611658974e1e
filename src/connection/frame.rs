//! Frames: messages in a stream of bytes, in the format of Python's `multiprocessing.connection`.
//!
//! A frame is a header and a message. The header is the message's length in four bytes, signed and big-endian. If the
//! length does not fit into them, the header is −1 in four bytes, and then the length in eight bytes, unsigned. This
//! file makes no system call: bytes go in, messages come out.

use crate::error::{Error, Result};

/// Bytes that the body grows by while it is shorter than this. After that it doubles. So a false length costs no
/// memory.
const STEP: u64 = 64 << 10;
/// The longest message that a header of four bytes can announce.
const SHORT: u64 = i32::MAX as u64;

/// Returns the header of a message of `len` bytes, and how many of the header's bytes are used.
pub(crate) fn header(len: usize) -> ([u8; 12], usize) {
    let mut bytes = [0; 12];
    let len = len as u64;
    if len <= SHORT {
        bytes[..4].copy_from_slice(&(len as u32).to_be_bytes());
        return (bytes, 4);
    }
    bytes[..4].copy_from_slice(&(-1i32).to_be_bytes());
    bytes[4..].copy_from_slice(&len.to_be_bytes());
    (bytes, 12)
}

/// Appends the frame of `message` to `out`.
pub(crate) fn append(message: &[u8], out: &mut Vec<u8>) {
    let (header, used) = header(message.len());
    out.extend_from_slice(&header[..used]);
    out.extend_from_slice(message);
}

/// Decodes frames that arrive in pieces.
///
/// The decoder never asks for bytes beyond the current frame. So the rest of the stream always begins with a frame, and
/// its descriptor polls readable exactly when there is one.
#[derive(Debug)]
pub(crate) struct Decoder {
    header: [u8; 12],
    /// Bytes of the header that have arrived.
    have: usize,
    /// The message's length, once the header is complete.
    len: Option<u64>,
    body: Vec<u8>,
    /// Bytes of the body that have arrived.
    filled: usize,
    limit: u64,
    /// The error after which the stream cannot be decoded any more.
    lost: Option<Error>,
}

impl Decoder {
    /// Makes a decoder that refuses messages of more than `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            header: [0; 12],
            have: 0,
            len: None,
            body: Vec::new(),
            filled: 0,
            limit,
            lost: None,
        }
    }

    /// Refuses messages of more than `limit` bytes from now on.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Returns the length of the header, as far as it is known.
    fn header_len(&self) -> usize {
        let long = self.have >= 4 && self.header[..4] == (-1i32).to_be_bytes();
        if long { 12 } else { 4 }
    }

    /// Returns the buffer for the next bytes of the stream. It is never empty.
    pub(crate) fn room(&mut self) -> Result<&mut [u8]> {
        if let Some(error) = &self.lost {
            return Err(error.clone());
        }
        let Some(len) = self.len else {
            let end = self.header_len();
            return Ok(&mut self.header[self.have..end]);
        };
        if self.filled == self.body.len() {
            let filled = self.filled as u64;
            let step = (len - filled).min(filled.max(STEP)) as usize;
            self.body.try_reserve(step).map_err(|_| Error::OutOfMemory {
                requested: step as u64,
            })?;
            self.body.resize(self.filled + step, 0);
        }
        Ok(&mut self.body[self.filled..])
    }

    /// Takes the first `n` bytes of the [`room`](Self::room), which were written. Returns the message if they complete
    /// one.
    pub(crate) fn filled(&mut self, n: usize) -> Result<Option<Vec<u8>>> {
        let answer = self.advance(n);
        if let Err(error) = &answer {
            self.lost = Some(error.clone());
        }
        answer
    }

    /// Does the work of [`filled`](Self::filled).
    fn advance(&mut self, n: usize) -> Result<Option<Vec<u8>>> {
        let len = if let Some(len) = self.len {
            self.filled += n;
            len
        } else {
            self.have += n;
            if self.have < self.header_len() {
                return Ok(None);
            }
            let len = self.announced()?;
            self.len = Some(len);
            len
        };
        if (self.filled as u64) < len {
            return Ok(None);
        }
        (self.have, self.len, self.filled) = (0, None, 0);
        Ok(Some(core::mem::take(&mut self.body)))
    }

    /// Returns the length in the header.
    fn announced(&self) -> Result<u64> {
        let short = i32::from_be_bytes(core::array::from_fn(|i| self.header[i]));
        let len = match u64::try_from(short) {
            Ok(len) => len,
            Err(_) if short == -1 => u64::from_be_bytes(core::array::from_fn(|i| self.header[4 + i])),
            Err(_) => return Err(Error::BadFrame { length: short }),
        };
        if len > self.limit {
            return Err(Error::FrameTooLarge {
                len,
                limit: self.limit,
            });
        }
        Ok(len)
    }

    /// Returns the error for a stream that ends here.
    pub(crate) fn at_end(&self) -> Error {
        match (&self.lost, self.len, self.have) {
            (Some(error), ..) => error.clone(),
            (None, None, 0) => Error::Disconnected,
            (None, len, _) => Error::Truncated {
                expected: len.unwrap_or(0),
                got: self.filled as u64,
            },
        }
    }

    /// Returns the bytes of memory that the decoder has allocated.
    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(super) fn taken(&self) -> usize {
        self.body.capacity()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Feeds bytes in pieces of at most `most`. Returns the messages, and the error at the end.
    fn feed(mut bytes: &[u8], most: usize, limit: u64) -> (Vec<Vec<u8>>, Error) {
        let mut decoder = Decoder::new(limit);
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let n = match decoder.room() {
                Ok(room) => {
                    let n = room.len().min(most).min(bytes.len());
                    room[..n].copy_from_slice(&bytes[..n]);
                    n
                }
                Err(error) => return (messages, error),
            };
            bytes = &bytes[n..];
            match decoder.filled(n) {
                Ok(message) => messages.extend(message),
                Err(error) => return (messages, error),
            }
        }
        (messages, decoder.at_end())
    }

    #[test]
    fn messages_are_decoded_from_pieces_of_any_length() {
        let sent = [vec![], vec![1], vec![2; 300_000], vec![], vec![3; 70_000]];
        let mut stream = Vec::new();
        sent.iter().for_each(|message| append(message, &mut stream));
        for most in [1, 3, 4, 1000, usize::MAX] {
            assert!(feed(&stream, most, u64::MAX) == (sent.to_vec(), Error::Disconnected));
        }
    }

    #[test]
    fn a_long_header_may_announce_little() {
        let stream = [&[255; 4][..], &3u64.to_be_bytes(), b"abc"].concat();
        assert_eq!(feed(&stream, 5, 3), (vec![b"abc".to_vec()], Error::Disconnected));
    }

    #[test]
    fn long_messages_have_long_headers() {
        assert_eq!(header(0x7fff_ffff).0[..4], [0x7f, 255, 255, 255]);
        let (bytes, used) = header(0x8000_0000);
        assert_eq!((&bytes[..4], used), (&[255; 4][..], 12));
        assert_eq!(bytes[4..], 0x8000_0000u64.to_be_bytes());
    }

    #[test]
    fn errors_name_the_fault() {
        let end = |bytes: &[u8], limit| feed(bytes, 100, limit).1;
        assert_eq!(end(&[0, 0], 9), Error::Truncated { expected: 0, got: 0 });
        assert_eq!(end(&[255; 7], 9), Error::Truncated { expected: 0, got: 0 });
        assert_eq!(
            end(&[0, 0, 0, 9, 1, 2], 9),
            Error::Truncated { expected: 9, got: 2 }
        );
        assert_eq!(end(&[0, 0, 0, 10], 9), Error::FrameTooLarge { len: 10, limit: 9 });
        let endless = Error::FrameTooLarge {
            len: u64::MAX,
            limit: 9,
        };
        assert_eq!(end(&[255; 12], 9), endless);
        assert_eq!(end(&[128, 0, 0, 0], 9), Error::BadFrame { length: i32::MIN });
        // The error stays for the rest of the stream.
        assert_eq!(
            end(&[0, 0, 0, 10, 0, 0, 0, 0], 9),
            Error::FrameTooLarge { len: 10, limit: 9 }
        );
    }

    #[test]
    fn a_false_length_costs_no_memory() {
        let mut decoder = Decoder::new(u64::MAX);
        let room = decoder.room().expect("room for a header");
        room.fill(255);
        decoder.filled(4).expect("half a header");
        decoder.room().expect("room for the rest").fill(127);
        decoder.filled(8).expect("a header");
        decoder.room().expect("room for a step").fill(1);
        assert!(decoder.taken() < 1 << 20, "{}", decoder.taken());
    }
}
