//! Processors: which ones a thread may run on, and moving it to another one.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Returns the processors this thread may run on, as bits of their numbers modulo 64; all bits where the system does
/// not tell. Limits on processor *time* (of a container, say) are not considered.
#[allow(unsafe_code)]
pub(crate) fn allowed() -> u64 {
    // Room for 8,192 processors; the system refuses if it has more.
    let mut set = [0u64; 128];
    // SAFETY: the system writes at most as many bytes as it is told into the array; it has the layout of a set of
    // processors where `long` has 64 bits or the machine is little-endian.
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

/// Returns the number of processors this process may run on, at least one.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Moves this thread to another of the processors it may run on. Returns whether it has moved.
///
/// Under a filter of system calls it does not move: filters that forbid this call, as those of hardened services do,
/// often end the process that makes it.
///
/// The system moves a thread at once when its set of processors no longer contains the current one. Afterwards the
/// set is restored. A set of all processors is restored as one without limits, so that it continues to grow with the
/// machine.
pub(crate) fn leave() -> bool {
    if is_filtered() {
        return false;
    }
    let Ok(before) = sched_getaffinity(None) else {
        return false;
    };
    let (mut others, here) = (before, sched_getcpu());
    others.unset(here);
    if others.count() == 0 || sched_setaffinity(None, &others).is_err() {
        return false;
    }
    let mut after = before;
    if before.count() as usize == configured() {
        (0..CpuSet::MAX_CPU).for_each(|n| after.set(n));
    }
    // The system allows what it allowed before. If it does not, there is no way to report it.
    let _ = sched_setaffinity(None, &after);
    true
}

/// Returns whether a filter (seccomp) decides on the system calls of this thread.
#[allow(unsafe_code)]
fn is_filtered() -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) != 0 }
}

/// Returns how many processors the machine can have.
fn configured() -> usize {
    // SAFETY: the call takes no pointers.
    #[allow(unsafe_code)]
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{allowed, leave};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    #[test]
    #[cfg_attr(miri, ignore)]
    fn only_allowed_processors_count() {
        let set = sched_getaffinity(None).unwrap();
        let all: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&n| set.is_set(n)).collect();
        assert_eq!(allowed(), all.iter().fold(0, |bits, n| bits | 1 << (n % 64)));
        for &n in &all {
            let mut one = CpuSet::new();
            one.set(n);
            // This thread's alone.
            sched_setaffinity(None, &one).unwrap();
            assert_eq!(allowed(), 1 << (n % 64));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_thread_that_leaves_runs_elsewhere_and_keeps_its_set() {
        let before = sched_getaffinity(None).unwrap();
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        let was_on = sched_getcpu();
        // Where it is pinned there is nowhere to go, and nothing changes.
        sched_setaffinity(None, &here).unwrap();
        assert!(!leave());
        assert_eq!(sched_getaffinity(None).unwrap(), here);
        sched_setaffinity(None, &before).unwrap();
        if before.count() > 1 {
            while sched_getcpu() != was_on {
                std::thread::yield_now();
                sched_setaffinity(None, &here).unwrap();
                sched_setaffinity(None, &before).unwrap();
            }
            assert!(leave());
            assert_eq!(sched_getaffinity(None).unwrap(), before);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_thread_under_a_filter_stays_where_it_is() {
        // The filter is that of the new thread alone, and allows everything.
        let moved = std::thread::spawn(|| install_filter().then(leave)).join();
        assert_ne!(moved.expect("a thread"), Some(true));
    }

    /// Installs a filter of system calls that allows all of them. Returns whether the system let it.
    #[allow(unsafe_code)]
    fn install_filter() -> bool {
        let mut allow = libc::sock_filter {
            code: (libc::BPF_RET | libc::BPF_K) as u16,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        };
        let program = libc::sock_fprog {
            len: 1,
            filter: &raw mut allow,
        };
        // SAFETY: the program is valid memory during the call, and the kernel copies it.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        }
    }
}
