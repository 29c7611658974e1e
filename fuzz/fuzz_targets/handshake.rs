//! See `procession::__fuzz::handshake`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession::__fuzz::handshake(data));
