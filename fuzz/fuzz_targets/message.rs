//! See `procession::__fuzz::message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| procession::__fuzz::message(data));
