//! See `procession::__fuzz::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession::__fuzz::frames(data));
