//! See `procession::__fuzz::tampered`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession::__fuzz::tampered(data));
