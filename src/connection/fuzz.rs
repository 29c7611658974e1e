//! Functions for the fuzzer: decoding bytes from outside.
//!
//! Whatever the bytes are, no function may panic, allocate more memory than the bytes justify, or accept a peer that
//! has not proved that it has the key.
#![allow(clippy::missing_panics_doc)] // They report what they find by panicking.

use super::frame::{self, Decoder};
use super::handshake::{Handshake, NONCE, Side};
use crate::error::Error;
use std::collections::BTreeMap;

/// The largest message that the frames of a fuzzer may have.
const LIMIT: u64 = 1 << 20;

/// Feeds a stream to the decoder, in pieces whose size is the first byte. The messages must be the bytes that went in.
pub fn frames(data: &[u8]) {
    let Some((&pieces, stream)) = data.split_first() else {
        return;
    };
    let mut decoder = Decoder::new(LIMIT);
    let (mut rest, mut again) = (stream, Vec::new());
    while !rest.is_empty() {
        let Ok(room) = decoder.room() else {
            assert!(!matches!(decoder.at_end(), Error::Disconnected));
            return;
        };
        let n = room.len().min(rest.len()).min(usize::from(pieces) + 1);
        room[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        assert!(
            decoder.taken() <= (128 << 10) + 4 * stream.len(),
            "more memory than the bytes justify"
        );
        match decoder.filled(n) {
            Ok(Some(message)) => {
                assert!(message.len() as u64 <= LIMIT);
                frame::append(&message, &mut again);
                let used = &stream[..stream.len() - rest.len()];
                assert!(used.ends_with(&message));
            }
            Ok(None) => {}
            Err(error) => {
                assert_eq!(decoder.at_end(), error);
                return;
            }
        }
    }
    if decoder.at_end() == Error::Disconnected && !stream.windows(4).any(|window| window == [255; 4]) {
        assert!(
            again == stream,
            "a stream with short headers only is encoded to the same bytes"
        );
    }
}

/// Feeds bytes of a peer that does not have the key to both sides of a handshake. No side may accept them.
pub fn handshake(data: &[u8]) {
    for side in [Side::Listener, Side::Client] {
        let mut handshake = Handshake::new(side, b"nobody knows this key", [7; NONCE]);
        let mut rest = data;
        while !rest.is_empty() {
            let Ok(room) = handshake.room() else { break };
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            let said = handshake.outgoing().len();
            handshake.sent(said);
            if handshake.filled(n).is_err() {
                break;
            }
        }
        assert!(!handshake.is_done(), "accepted without the key");
    }
}

/// Runs the handshake of two sides with the same key, while the bytes between them are changed, removed or doubled as
/// `data` says. No side may finish unless the bytes of the other side arrived unchanged.
pub fn tampered(data: &[u8]) {
    let mut sides = [(Side::Listener, [1; NONCE]), (Side::Client, [2; NONCE])]
        .map(|(side, nonce)| Handshake::new(side, b"the key", nonce));
    let mut touched = false;
    let mut orders = data.iter().copied();
    for turn in 0..12 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        let mut bytes = sides[from].outgoing().to_vec();
        sides[from].sent(bytes.len());
        if let (Some(place), Some(change)) = (orders.next(), orders.next())
            && !bytes.is_empty()
            && change != 0
        {
            touched = true;
            let place = usize::from(place) % bytes.len();
            match change {
                1 => drop(bytes.remove(place)),
                2 => bytes.truncate(place),
                3 => bytes.extend_from_within(place..),
                other => bytes[place] ^= other,
            }
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() && !sides[to].is_done() {
            let Ok(room) = sides[to].room() else { return };
            let n = room.len().min(rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            if sides[to].filled(n).is_err() {
                assert!(touched, "two sides with the same key refuse each other");
                return;
            }
        }
    }
    assert!(touched || sides.iter().all(Handshake::is_done));
}

/// Decodes bytes as a message of this crate's codec.
pub fn message(data: &[u8]) {
    type Anything = (
        u64,
        Option<String>,
        Vec<Vec<u8>>,
        BTreeMap<i16, (bool, char)>,
        f64,
    );
    if let Ok(value) = crate::codec::decode::<Anything>(data) {
        let mut again = Vec::new();
        crate::codec::encode(&value, &mut again).expect("a decoded value can be encoded");
        let same: Anything = crate::codec::decode(&again).expect("and be decoded again");
        assert_eq!(format!("{value:?}"), format!("{same:?}"));
    }
    // A handle is not accepted from outside.
    let error = crate::codec::decode::<crate::Queue<u8>>(data).map(drop);
    assert!(error.is_err(), "a handle was decoded from outside bytes");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_handled(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::frames(&data);
            super::handshake(&data);
            super::tampered(&data);
            super::message(&data);
        }

        #[test]
        fn any_frames_are_decoded(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..9), pieces: u8
        ) {
            let mut stream = vec![pieces];
            for message in &messages {
                super::frame::append(message, &mut stream);
            }
            super::frames(&stream);
        }
    }
}
