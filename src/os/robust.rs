//! A mutex in shared memory of which the system itself takes care when the thread that has it ends, however it ends: the
//! C library's *robust* mutex. The list of those that a thread has is the C library's; there must never be a second one.
//! Only of the field in which the C library notes what a thread is about to take do we make use, too.
//!
//! The mutex's first word is a futex. In it are the thread's number, [`WAITERS`] if somebody is to be woken when the mutex
//! comes free, and [`OWNER_DIED`]; when the thread ends, the system wakes one.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Somebody is to be woken when the mutex comes free.
pub(crate) const WAITERS: u32 = 1 << 31;
/// The thread that had it ended.
pub(crate) const OWNER_DIED: u32 = 1 << 30;

/// Words of memory that hold a mutex.
pub(crate) const SIZE: usize = 6;

/// Whether the C library's mutex is known to be as said above.
pub(crate) const KNOWN: bool = cfg!(all(target_os = "linux", target_env = "gnu", not(loom)))
    && size_of::<libc::pthread_mutex_t>() <= 8 * SIZE
    && align_of::<libc::pthread_mutex_t>() <= 8;

/// Whether a mutex was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryLock {
    Yes,
    /// From a thread that ended with it.
    FromDead,
    No,
}

/// A mutex in shared memory.
#[repr(transparent)]
pub(crate) struct Robust([AtomicU64; SIZE]);

impl Robust {
    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.0.as_ptr().cast_mut().cast()
    }

    /// The first word.
    #[allow(unsafe_code)]
    pub(crate) fn word(&self) -> &AtomicU32 {
        // SAFETY: the memory is that of an array of atomics, aligned to eight, which the C library and the system change
        // by atomic instructions.
        unsafe { AtomicU32::from_ptr(self.mutex().cast()) }
    }

    /// Makes the mutex; false where there is no such thing, and it must not be used. To be called once, before anybody else
    /// sees it.
    #[allow(unsafe_code)]
    pub(crate) fn begin(&self) -> bool {
        if !KNOWN {
            return false;
        }
        let mut attributes = core::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the attributes are made before they are used and unmade afterwards, and the mutex's memory is large and
        // aligned enough (`KNOWN`) and nobody's yet. Only the one that makes it can fail, on systems without robust mutexes.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            let failed = libc::pthread_mutex_init(self.mutex(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
            failed == 0
        }
    }

    /// Takes the mutex for this thread if nobody has it.
    #[allow(unsafe_code)]
    pub(crate) fn try_lock(&self) -> TryLock {
        if !KNOWN {
            return TryLock::No;
        }
        // SAFETY: the mutex was made when the heap was, and its memory is mapped for as long as the process lives.
        match unsafe { libc::pthread_mutex_trylock(self.mutex()) } {
            0 => TryLock::Yes,
            libc::EOWNERDEAD => {
                // SAFETY: as above; this thread has just got it.
                unsafe { libc::pthread_mutex_consistent(self.mutex()) };
                TryLock::FromDead
            }
            _ => TryLock::No,
        }
    }

    /// Has the system wake another one of those who sleep on the mutex, if it is free then, should this thread end before the
    /// answer is dropped: for somebody who sleeps on it, and might be woken and not live to take it.
    #[allow(unsafe_code)]
    pub(crate) fn expect(&self) -> Expected {
        let mut head = core::ptr::null_mut::<Head>();
        let mut size = 0usize;
        // SAFETY: the system writes where this thread's head is, and its size, into two variables that are as long.
        let failed =
            unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) } != 0;
        if !KNOWN || failed || size != size_of::<Head>() {
            return Expected(None);
        }
        let head = core::ptr::NonNull::new(head);
        if let Some(head) = head {
            // SAFETY: the head is the C library's, a part of this thread, and lives as long as that. Nobody else reads or
            // writes it but the system at the thread's end, and this thread's own calls of the C library, which leave the
            // field empty.
            unsafe {
                let entry = self.word().as_ptr().byte_offset(-(*head.as_ptr()).offset);
                (&raw mut (*head.as_ptr()).pending).write_volatile(entry.cast());
            }
        }
        Expected(head)
    }

    /// Releases the mutex, if this thread has it; in a forked child it does not.
    #[allow(unsafe_code)]
    pub(crate) fn unlock(&self) {
        // SAFETY: as for `try_lock`. The C library refuses if another thread has it.
        unsafe { libc::pthread_mutex_unlock(self.mutex()) };
    }
}

/// As `struct robust_list_head`.
#[repr(C)]
struct Head {
    list: *mut libc::c_void,
    /// From an entry of the list to its futex.
    offset: isize,
    /// The entry that is about to be taken or given up.
    pending: *mut libc::c_void,
}

/// See [`Robust::expect`].
pub(crate) struct Expected(Option<core::ptr::NonNull<Head>>);

impl Drop for Expected {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if let Some(head) = self.0 {
            // SAFETY: as in `expect`; a `NonNull` is not sent to other threads.
            unsafe { (&raw mut (*head.as_ptr()).pending).write_volatile(core::ptr::null_mut()) };
        }
    }
}
