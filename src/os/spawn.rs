//! Starting a program: `posix_spawn(3)`, which neither copies this process nor runs its fork handlers.

use crate::error::{Error, Result};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// A program to start, and what it gets.
pub(crate) struct Program<'a> {
    pub path: &'a OsStr,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: Option<CString>,
    /// Descriptors that the program inherits, under the same numbers.
    pub keep: Vec<RawFd>,
    /// The program's descriptors 0, 1 and 2, where they differ from this process's.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// Signals that are blocked from the program's first instruction on.
    pub blocked: &'a [i32],
}

/// Converts to a C string. The error names the text that contains a NUL.
pub(crate) fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::Os {
        call: format!("a NUL byte in {}", text.to_string_lossy()),
        errno: libc::EINVAL,
    })
}

/// File actions and attributes, destroyed when done.
struct Actions(libc::posix_spawn_file_actions_t);
struct Attributes(libc::posix_spawnattr_t);

#[allow(unsafe_code)]
impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `posix_spawn_file_actions_init`.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

#[allow(unsafe_code)]
impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `posix_spawnattr_init`.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn checked(call: &str, answer: i32) -> Result<()> {
    if answer == 0 {
        Ok(())
    } else {
        Err(Error::os(call, answer))
    }
}

/// Starts the program, and returns its pid.
#[allow(unsafe_code)]
pub(crate) fn spawn(program: &Program<'_>) -> Result<u32> {
    let path = c_string(program.path)?;
    // An earlier action could overwrite a source among 0, 1 and 2. Such sources are copied to other numbers first.
    let mut moved: Vec<OwnedFd> = Vec::new();
    let mut sources = [None; 3];
    for (to, from) in program.stdio.iter().enumerate() {
        if let Some(from) = from {
            let mut number = from.as_raw_fd();
            if number <= 2 && number as usize != to {
                let copy = rustix::io::fcntl_dupfd_cloexec(from, 3).map_err(|e| Error::errno("fcntl", e))?;
                number = copy.as_raw_fd();
                moved.push(copy);
            }
            sources[to] = Some(number);
        }
    }
    // SAFETY: both structures are initialised before anything else is done with them and destroyed by their guards; the
    // strings and arrays outlive the call; posix_spawn copies what it needs before it returns.
    unsafe {
        let mut actions = Actions(core::mem::zeroed());
        checked(
            "posix_spawn",
            libc::posix_spawn_file_actions_init(&raw mut actions.0),
        )?;
        for (to, from) in sources.iter().enumerate() {
            if let Some(from) = from {
                checked(
                    "posix_spawn",
                    libc::posix_spawn_file_actions_adddup2(&raw mut actions.0, *from, to as i32),
                )?;
            }
        }
        for &fd in &program.keep {
            // Duplicating a descriptor onto itself only removes the close-on-exec flag.
            checked(
                "posix_spawn",
                libc::posix_spawn_file_actions_adddup2(&raw mut actions.0, fd, fd),
            )?;
        }
        if let Some(cwd) = &program.cwd {
            let added = libc::posix_spawn_file_actions_addchdir_np(&raw mut actions.0, cwd.as_ptr());
            checked("posix_spawn", added)?;
        }
        let mut attributes = Attributes(core::mem::zeroed());
        checked("posix_spawn", libc::posix_spawnattr_init(&raw mut attributes.0))?;
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in program.blocked {
            libc::sigaddset(&raw mut set, signal);
        }
        checked(
            "posix_spawn",
            libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const set),
        )?;
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
        checked(
            "posix_spawn",
            libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const set),
        )?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        checked(
            "posix_spawn",
            libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as libc::c_short),
        )?;
        let pointers = |strings: &[CString]| -> Vec<*mut libc::c_char> {
            strings
                .iter()
                .map(|s| s.as_ptr().cast_mut())
                .chain([core::ptr::null_mut()])
                .collect()
        };
        let (args, env) = (pointers(&program.args), pointers(&program.env));
        let mut pid = 0;
        checked(
            "posix_spawn",
            libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                args.as_ptr(),
                env.as_ptr(),
            ),
        )?;
        Ok(pid as u32)
    }
}

/// Removes an environment variable of this process.
#[allow(unsafe_code)]
pub(crate) fn forget_variable(name: &str) {
    // SAFETY: called at the start of a program (or of its one test), before it starts threads that could read the
    // environment by other means than the standard library, which locks it.
    unsafe { std::env::remove_var(name) };
}

/// Sets an environment variable of a forked child, which has one thread.
///
/// This does not use the standard library: another thread of the parent may have held its lock at the moment of the
/// fork.
#[allow(unsafe_code)]
pub(crate) fn set_variable(name: &OsStr, value: &OsStr) -> Result<()> {
    let (name, value) = (c_string(name)?, c_string(value)?);
    // SAFETY: the call copies both strings; no other thread reads the environment meanwhile, because there is none.
    match unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}
