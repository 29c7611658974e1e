//! Everything that asks the operating system. Another system would be a second room like this one.
//!
//! Nothing above this room makes a system call of its own. Every function retries `EINTR` unless it says otherwise and
//! takes deadlines from the monotonic clock.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod fd;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod kept;
pub(crate) mod memory;
pub(crate) mod named;
pub(crate) mod net;
pub(crate) mod pid;
pub(crate) mod ready;
pub(crate) mod robust;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod witness;

use crate::error::Error;

/// The error that the last failed libc call of this thread left behind, named after the call.
pub(crate) fn last_error(call: &str) -> Error {
    Error::os(call, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// The processors this thread may run on, as bits of their numbers modulo 64; all, where the system does not say. Limits on
/// processor *time* (of a container, say) do not matter here.
#[allow(unsafe_code)]
pub(crate) fn allowed_processors() -> u64 {
    // Room for 8,192 processors; the system refuses if it has more.
    let mut set = [0u64; 128];
    // SAFETY: the system writes at most as many bytes as it is told into the array; it has the layout of a set of processors
    // where `long` has 64 bits or the machine is little-endian.
    let bytes = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(&set),
            set.as_mut_ptr(),
        )
    };
    let all = set.iter().fold(0, |all, word| all | word);
    let (count, seen) = (
        set.iter().map(|word| word.count_ones()).sum::<u32>(),
        all.count_ones(),
    );
    // Two that are the same modulo 64 must not look like one.
    if bytes > 0 && (seen > 1 || count == 1) {
        all
    } else {
        u64::MAX
    }
}

/// Number of processors this process may run on; at least one.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::allowed_processors;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    #[test]
    #[cfg_attr(miri, ignore)]
    fn only_allowed_processors_count() {
        let allowed = sched_getaffinity(None).unwrap();
        let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&n| allowed.is_set(n)).collect();
        assert_eq!(
            allowed_processors(),
            all.iter().fold(0, |bits, n| bits | 1 << (n % 64))
        );
        for &n in &all {
            let mut one = CpuSet::new();
            one.set(n);
            // This thread's alone.
            sched_setaffinity(None, &one).unwrap();
            assert_eq!(allowed_processors(), 1 << (n % 64));
        }
    }
}
