//! fork(2).

use crate::error::Result;

/// Who one is behind a fork.
pub(crate) enum Forked {
    /// The process that forked; the child's pid.
    Parent(u32),
    /// The new process.
    Child,
}

/// Copies this process, with only the calling thread.
///
/// Where the process has other threads, whatever they hold stays held in the child: the caller of this crate has chosen
/// to fork and is told so in the documentation. This crate's own state is safe: see `heap/fork.rs`.
#[allow(unsafe_code)]
pub(crate) fn fork() -> Result<Forked> {
    // SAFETY: fork itself has no preconditions. The child runs Rust code; glibc makes its allocator usable there.
    match unsafe { libc::fork() } {
        -1 => Err(super::last_error("fork")),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid as u32)),
    }
}

/// Ends this process at once, without running what its parent registered for its own end.
#[allow(unsafe_code)]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Has `function` called when this process ends in an orderly way.
#[allow(unsafe_code)]
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: `function` is a plain extern "C" function that lives as long as the program and does not unwind.
    unsafe { libc::atexit(function) };
}

/// Names this process for `ps` and `top`; the system keeps 15 bytes.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}
