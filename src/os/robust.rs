//! A mutex in shared memory that the system releases when the thread that holds it ends, however it ends: the C
//! library's *robust* mutex.
//!
//! The C library keeps a list of the robust mutexes that a thread holds. There must never be a second list. Of that
//! record this module itself uses only one field: the one in which the C library notes the mutex that a thread is
//! about to take.
//!
//! The mutex's first word is a futex. It contains the thread's number, [`WAITERS`] if a thread is to be woken when
//! the mutex is released, and [`OWNER_DIED`]. When the owner ends, the system wakes one sleeper.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// A thread is to be woken when the mutex is released.
pub(crate) const WAITERS: u32 = 1 << 31;
/// The thread that held the mutex has ended.
pub(crate) const OWNER_DIED: u32 = 1 << 30;

/// The number of 64-bit words that hold a mutex.
pub(crate) const SIZE: usize = 6;

/// Whether the C library's mutex is known to have this form.
pub(crate) const KNOWN: bool = cfg!(all(target_os = "linux", target_env = "gnu", not(loom)))
    && size_of::<libc::pthread_mutex_t>() <= 8 * SIZE
    && align_of::<libc::pthread_mutex_t>() <= 8;

/// The result of trying to take a mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryLock {
    Yes,
    /// Yes, from a thread that ended while it held the mutex.
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

    /// Returns the first word.
    #[allow(unsafe_code)]
    pub(crate) fn word(&self) -> &AtomicU32 {
        // SAFETY: the memory is that of an array of atomics, aligned to eight, which the C library and the system
        // change by atomic instructions.
        unsafe { AtomicU32::from_ptr(self.mutex().cast()) }
    }

    /// Initialises the mutex. Returns false where the system has no such mutex, and then it must not be used. Call
    /// this once, before another thread can see the mutex.
    #[allow(unsafe_code)]
    pub(crate) fn begin(&self) -> bool {
        if !KNOWN {
            return false;
        }
        let mut attributes = core::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        // SAFETY: the attributes are initialised before they are used and destroyed afterwards. The mutex's memory is
        // large and aligned enough (`KNOWN`), and no other thread uses it yet. Only `pthread_mutex_init` can fail, on
        // systems without robust mutexes.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            let failed = libc::pthread_mutex_init(self.mutex(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
            failed == 0
        }
    }

    /// Takes the mutex for this thread if it is free.
    #[allow(unsafe_code)]
    pub(crate) fn try_lock(&self) -> TryLock {
        if !KNOWN {
            return TryLock::No;
        }
        // SAFETY: the mutex was initialised with the heap, and its memory stays mapped as long as the process lives.
        match unsafe { libc::pthread_mutex_trylock(self.mutex()) } {
            0 => TryLock::Yes,
            libc::EOWNERDEAD => {
                // SAFETY: as above; this thread has just taken it.
                unsafe { libc::pthread_mutex_consistent(self.mutex()) };
                TryLock::FromDead
            }
            _ => TryLock::No,
        }
    }

    /// Notes the mutex as one that this thread is about to take, until the returned value is dropped.
    ///
    /// If the thread ends meanwhile, and the mutex is free then, the system wakes another thread that sleeps on the
    /// mutex. This is for a thread that sleeps on it: it may be woken for the mutex and die before it takes it.
    #[allow(unsafe_code)]
    pub(crate) fn expect(&self) -> Expected {
        let mut head = core::ptr::null_mut::<Head>();
        let mut size = 0usize;
        // SAFETY: the system writes the address of this thread's head, and its size, into two variables of the right
        // size.
        let failed =
            unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) } != 0;
        if !KNOWN || failed || size != size_of::<Head>() {
            return Expected(None);
        }
        let head = core::ptr::NonNull::new(head);
        if let Some(head) = head {
            // SAFETY: the head belongs to the C library's record of this thread and lives as long as the thread. It
            // is read and written only by the system at the thread's end, and by this thread's own calls of the C
            // library, which leave the field empty.
            unsafe {
                let entry = self.word().as_ptr().byte_offset(-(*head.as_ptr()).offset);
                (&raw mut (*head.as_ptr()).pending).write_volatile(entry.cast());
            }
        }
        Expected(head)
    }

    /// Releases the mutex if this thread holds it. In a forked child it does not hold it.
    #[allow(unsafe_code)]
    pub(crate) fn unlock(&self) {
        // SAFETY: as for `try_lock`. The C library refuses if another thread has it.
        unsafe { libc::pthread_mutex_unlock(self.mutex()) };
    }
}

/// The head of the list of a thread's robust mutexes: `struct robust_list_head`.
#[repr(C)]
struct Head {
    list: *mut libc::c_void,
    /// The offset from an entry of the list to its futex.
    offset: isize,
    /// The entry that is about to be taken or released.
    pending: *mut libc::c_void,
}

/// The note that [`Robust::expect`] makes; dropping it removes the note.
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
