//! Forking: fork(2), handlers around it, and exit.

use crate::error::Result;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Which of the two processes continues after a fork.
pub(crate) enum Forked {
    /// The process that forked, with the child's pid.
    Parent(u32),
    /// The new process.
    Child,
}

/// Copies this process, with only the calling thread.
///
/// Whatever the other threads hold stays held in the child for ever. The documentation of forking tells users so. The
/// state of this crate is safe: see `heap/members/fork.rs`.
#[allow(unsafe_code)]
pub(crate) fn fork() -> Result<Forked> {
    // SAFETY: fork itself has no preconditions. The child runs Rust code; glibc makes its allocator usable there.
    match unsafe { libc::fork() } {
        -1 => Err(super::last_error("fork")),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as u32)),
    }
}

/// Clears the error of this thread's last call that failed, so that [`seems_failed`] reports a later one.
#[allow(unsafe_code)]
pub(crate) fn forget_error() {
    // SAFETY: the address of this thread's errno is valid and writable.
    unsafe { *libc::__errno_location() = 0 };
}

/// Returns whether the fork that this thread has just tried seems to have failed, judged by the error that it left.
pub(crate) fn seems_failed() -> bool {
    let left = std::io::Error::last_os_error().raw_os_error();
    matches!(
        left,
        Some(libc::EAGAIN | libc::ENOMEM | libc::ENOSYS | libc::EPERM)
    )
}

/// The largest page size of the supported platforms.
const PAGE: usize = 64 << 10;

/// A word of this process's own memory that the kernel sets to zero in every child that has a copy of the memory,
/// however the child is made (`MADV_WIPEONFORK`, Linux 4.14). Where the kernel cannot do so, it is an ordinary word.
/// It has pages of its own.
#[repr(C, align(65536))]
pub(crate) struct Wiped {
    word: AtomicU32,
    _rest: [u8; PAGE - 4],
}

/// The only instance.
pub(crate) static WIPED: Wiped = Wiped {
    word: AtomicU32::new(0),
    _rest: [0; PAGE - 4],
};

impl Wiped {
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Asks the kernel to wipe the word in every child from now on.
    #[allow(unsafe_code)]
    pub(crate) fn begin(&'static self) {
        let pages = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: whole pages that hold nothing but this static, in this process's anonymous memory (it is zero at
        // first); the advice changes nothing here, and what a child finds is a valid value: zero.
        let _ = unsafe { rustix::mm::madvise(pages, size_of::<Self>(), rustix::mm::Advice::LinuxWipeOnFork) };
    }
}

/// A function that is called around a fork.
pub(crate) type Handler = Option<extern "C" fn()>;

/// Registers functions that the C library calls around every fork of this process: before it, after it in the parent,
/// and after it in the child. `done` says whether they were registered already.
///
/// There is no lock here: a child forked in the middle would wait for it for ever. So a second registration is
/// possible, by such a child or by a second thread, and the functions must tolerate being called more than once.
#[allow(unsafe_code)]
pub(crate) fn call_around(done: &AtomicBool, before: Handler, in_parent: Handler, in_child: Handler) {
    let plain = |handler: Handler| handler.map(|handler| handler as unsafe extern "C" fn());
    if !done.load(Ordering::Acquire) {
        // SAFETY: the functions live as long as the program, take and answer nothing, and never unwind.
        unsafe { libc::pthread_atfork(plain(before), plain(in_parent), plain(in_child)) };
        done.store(true, Ordering::Release);
    }
}

/// Ends this process at once, without running the exit functions that its parent registered.
#[allow(unsafe_code)]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Registers a function for the orderly end of this process: `main` returns, or exit(3) is called. Functions run in
/// the reverse order of registration.
#[allow(unsafe_code)]
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: `function` is a plain extern "C" function that lives as long as the program and does not unwind.
    unsafe { libc::atexit(function) };
}

/// Registers a function like [`at_exit`]. It gets the exit status, which this C library tells.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub(crate) fn at_exit_with_status(function: extern "C" fn(i32, *mut c_void), _otherwise: extern "C" fn()) {
    unsafe extern "C" {
        // on_exit(3), which is missing from the libc crate.
        fn on_exit(function: extern "C" fn(i32, *mut c_void), argument: *mut c_void) -> i32;
    }
    // SAFETY: `function` is a plain extern "C" function that lives as long as the program, uses no argument and does
    // not unwind.
    unsafe { on_exit(function, core::ptr::null_mut()) };
}

/// Registers `otherwise` like [`at_exit`], because this C library does not tell the exit status.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn at_exit_with_status(_function: extern "C" fn(i32, *mut c_void), otherwise: extern "C" fn()) {
    at_exit(otherwise);
}

/// Names this process for `ps` and `top`. The system keeps 15 bytes.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}
