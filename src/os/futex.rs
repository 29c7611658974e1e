//! Shared futexes: sleeping on 32-bit words of shared memory (futex(2)).

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The thread was woken, or the word no longer had the expected value.
    Woken,
    /// The time was over.
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
    // SAFETY: the word outlives the call (it is borrowed), the timespec is valid, and FUTEX_WAIT_BITSET reads both
    // only. The absolute time is on CLOCK_MONOTONIC because FUTEX_CLOCK_REALTIME is not given.
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

/// The maximum number of words for [`wait_any`].
pub(crate) const WORDS: usize = 4;

/// Whether the system has refused `futex_waitv` to this process.
static ONE_ONLY: AtomicBool = AtomicBool::new(false);

/// An element of the array for `futex_waitv`: `struct futex_waitv`, which the `libc` crate lacks for some systems.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// `FUTEX2_SIZE_U32`. Without `FUTEX2_PRIVATE` the futex is shared.
const SHARED_32: u32 = 2;

/// The number of `futex_waitv(2)`, which is the same on every architecture.
const FUTEX_WAITV: libc::c_long = 449;

/// Sleeps while each of up to [`WORDS`] words is as expected, at the latest until the monotonic clock shows `until`.
/// Returns why the sleep ended, and the index of the word that was woken, if it is known. Returns `None` where the
/// system does not offer this call (before Linux 5.16, or where a filter forbids it).
///
/// A signal handler that was installed with `SA_RESTART` does not interrupt it.
#[allow(unsafe_code)]
pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], until: u64) -> Option<(Wake, Option<usize>)> {
    if ONE_ONLY.load(Ordering::Relaxed) {
        return None;
    }
    let none = Waiter {
        expected: 0,
        address: 0,
        flags: SHARED_32,
        reserved: 0,
    };
    let mut waiters = [none; WORDS];
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        waiter.expected = u64::from(*expected);
        waiter.address = word.as_ptr() as u64;
    }
    let ts = TimeSpec {
        seconds: (until / 1_000_000_000).cast_signed(),
        nanoseconds: (until % 1_000_000_000).cast_signed(),
    };
    // SAFETY: the words outlive the call (they are borrowed), `waiters` has at least as many entries as it is told, the
    // time is valid, and the system only reads all of them.
    let answer = unsafe {
        libc::syscall(
            FUTEX_WAITV,
            waiters.as_ptr(),
            words.len().min(WORDS) as libc::c_uint,
            0 as libc::c_uint,
            &raw const ts,
            libc::CLOCK_MONOTONIC,
        )
    };
    if let Ok(place) = usize::try_from(answer) {
        return Some((Wake::Woken, Some(place)));
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => Some((Wake::TimedOut, None)),
        Some(libc::EINTR) => Some((Wake::Interrupted, None)),
        // One of the words is no longer as expected.
        Some(libc::EAGAIN) => Some((Wake::Woken, None)),
        _ => {
            ONE_ONLY.store(true, Ordering::Relaxed);
            None
        }
    }
}

/// `struct __kernel_timespec`, which has this form on every architecture.
#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

/// Wakes up to `count` threads that sleep on `word`, in any process. Returns their number.
#[allow(unsafe_code)]
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    // SAFETY: FUTEX_WAKE only uses the address of the word to find sleepers; it is a valid mapped address.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u32::try_from(woken).unwrap_or(0)
}
