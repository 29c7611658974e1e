//! The futex system call, without any layer above it.

#![allow(unsafe_code)]

use std::sync::atomic::AtomicU32;

/// Sleeps while `word` is `expected`, unless woken; it may also return for no reason.
pub fn wait(word: &AtomicU32, expected: u32) {
    // SAFETY: the word outlives the call, and there is no time limit to point to.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            std::ptr::null::<libc::timespec>(),
        )
    };
}

/// Wakes up to `count` sleepers.
pub fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}
