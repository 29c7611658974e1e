//! Shared futexes: sleeping on a 32-bit word of shared memory (futex(2)).

use core::sync::atomic::AtomicU32;

/// Why a sleeper goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Somebody woke it, or the word no longer had the expected value.
    Woken,
    /// The moment passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// Sleeps while `word` is `expected`, at the latest until the monotonic clock shows `until`.
#[allow(unsafe_code)]
pub(crate) fn wait(word: &AtomicU32, expected: u32, until: u64) -> Wake {
    let ts = libc::timespec {
        tv_sec: (until / 1_000_000_000) as libc::time_t,
        tv_nsec: (until % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: the word outlives the call (it is borrowed), the timespec is valid, and FUTEX_WAIT_BITSET reads both only.
    // The absolute time is on CLOCK_MONOTONIC because FUTEX_CLOCK_REALTIME is not given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            &raw const ts,
            core::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    if answer == 0 {
        return Wake::Woken;
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => Wake::TimedOut,
        Some(libc::EINTR) => Wake::Interrupted,
        _ => Wake::Woken,
    }
}

/// Wakes up to `count` sleepers on `word`, in any process.
#[allow(unsafe_code)]
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let count = count.min(i32::MAX as u32);
    // SAFETY: FUTEX_WAKE only uses the address of the word to find sleepers; it is a valid mapped address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}
