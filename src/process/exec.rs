//! Starting a copy of this program.

use super::order::{self, StartOrder};
use super::ready;
use crate::error::{Error, Result};
use crate::os;
use crate::os::spawn::{Program, c_string};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Starts a copy of this program (or another build of it) with an order for [`init`](super::child::init). Returns its
/// pid.
pub(super) fn start_program(
    mut order: StartOrder,
    program: Option<&OsStr>,
    env: &[(OsString, OsString)],
    cwd: Option<&OsStr>,
    stdio: [Option<BorrowedFd<'_>>; 3],
) -> Result<u32> {
    let (args, harness) = order::own_arguments();
    let mut keep: Vec<i32> = [order.heap, order.claim, order.lifeline, order.server]
        .into_iter()
        .filter(|&fd| fd >= 0)
        .collect();
    let mut streams = stdio;
    // The test harness writes some lines before it runs the test. They must not go to the child's standard output.
    let aside = if harness && program.is_none() {
        Some(set_stdout_aside(stdio[1])?)
    } else {
        None
    };
    if let Some((null, real)) = &aside {
        order.stdout = real.as_raw_fd();
        keep.push(order.stdout);
        streams[1] = Some(null.as_fd());
    }
    let (name, value) = order.variable();
    let mut env = env.to_vec();
    env.push((name.into(), value.into()));
    os::spawn::spawn(&Program {
        path: program.unwrap_or(OsStr::new(os::image::OWN)),
        args: args.iter().map(|a| c_string(a)).collect::<Result<_>>()?,
        env: environment(&env)?,
        cwd: cwd.map(c_string).transpose()?,
        keep,
        stdio: streams,
        blocked: &[],
    })
}

/// Starts a copy of this program that is not a process of it but one of [`HELPERS`](crate::program::HELPERS). It gets
/// one descriptor, whose number the variable tells. Its standard streams are the null device.
pub(crate) fn start_helper(variable: &str, socket: BorrowedFd<'_>) -> Result<()> {
    if !ready::is_ready() {
        return Err(Error::NotInitialised);
    }
    let (args, _) = order::own_arguments();
    let own = (variable.into(), socket.as_raw_fd().to_string().into());
    let null = os::stdio::null()?;
    let pid = os::spawn::spawn(&Program {
        path: OsStr::new(os::image::OWN),
        args: args.iter().map(|a| c_string(a)).collect::<Result<_>>()?,
        env: environment(&[own])?,
        cwd: None,
        keep: vec![socket.as_raw_fd()],
        stdio: [Some(null.as_fd()); 3],
        // The helper must survive the signals that end a program at a terminal.
        blocked: &os::signal::FROM_TERMINAL,
    })?;
    os::signal::reap_when_dead(pid);
    Ok(())
}

/// Returns this process's environment with these variables added.
fn environment(own: &[(OsString, OsString)]) -> Result<Vec<CString>> {
    std::env::vars_os()
        .filter(|(key, _)| !own.iter().any(|(name, _)| name == key))
        .chain(own.iter().cloned())
        .map(|(key, value)| c_string(&pair(&key, &value)))
        .collect()
}

/// Returns the null device, and a copy of what becomes standard output later.
fn set_stdout_aside(stdout: Option<BorrowedFd<'_>>) -> Result<(OwnedFd, OwnedFd)> {
    let real = stdout.unwrap_or_else(|| os::stdio::own_stdio(1));
    let real = os::descriptor::duplicate(real)?;
    Ok((os::stdio::null()?, real))
}

/// Returns `KEY=value`.
fn pair(key: &OsStr, value: &OsStr) -> OsString {
    OsString::from_vec([key.as_bytes(), b"=", value.as_bytes()].concat())
}
