//! The time to start a process that does nothing, and to wait for its end.

#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::time::Instant;

use procession::{Process, StartMethod};

use crate::Result;
use crate::contest::{Contender, Effort, Figure, Group, at_most, median};

const SPAWN: &str = "procession, spawn";
const POSIX: &str = "posix_spawn of /bin/true";

/// Returns the group of this file.
pub fn groups() -> Vec<Group> {
    let ours = |name, method| {
        Contender::new(name, move |effort| {
            measure(effort, || {
                Ok(Process::builder().method(method).spawn(nothing, ())?.join()?)
            })
        })
    };
    vec![Group {
        name: "start and join",
        figures: &[Figure {
            name: "", unit: "µs"
        }],
        references: &[POSIX],
        contenders: vec![
            ours(SPAWN, StartMethod::Spawn).target(at_most(2.0, POSIX)),
            ours("procession, forkserver", StartMethod::ForkServer).target(at_most(0.5, SPAWN)),
            ours("procession, fork", StartMethod::Fork),
            Contender::new(POSIX, |effort| measure(effort, trivial_program)),
            Contender::new("fork, _exit and waitpid", |effort| measure(effort, bare_fork)).yardstick(),
        ],
    }]
}

/// Does nothing: this is the function that the process runs.
fn nothing() {}

/// Returns the median time of several starts. A few unmeasured starts go first, because the fork server starts with the
/// first process that needs it.
fn measure(effort: Effort, start: impl Fn() -> Result<()>) -> Result<Vec<f64>> {
    for _ in 0..5 {
        start()?;
    }
    let mut times = Vec::new();
    for _ in 0..effort.of(200) {
        let begin = Instant::now();
        start()?;
        times.push(begin.elapsed().as_nanos() as f64 / 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(median(&times).into_iter().collect())
}

fn trivial_program() -> Result<()> {
    let path = c"/bin/true";
    let arguments = [path.as_ptr().cast_mut(), ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: the strings end in a zero byte, the lists end in a null pointer, and the process id is written to a valid
    // place.
    let failure = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            ptr::null(),
            ptr::null(),
            arguments.as_ptr(),
            [ptr::null_mut()].as_ptr(),
        )
    };
    if failure != 0 {
        return Err(io::Error::from_raw_os_error(failure).into());
    }
    wait_for(pid)
}

fn bare_fork() -> Result<()> {
    // SAFETY: the child only ends, which is allowed whatever other threads were doing.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error().into()),
        // SAFETY: `_exit` ends the process at once.
        0 => unsafe { libc::_exit(0) },
        pid => wait_for(pid),
    }
}

fn wait_for(pid: libc::pid_t) -> Result<()> {
    let mut status = 0;
    // SAFETY: the status is written to a valid place.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(io::Error::last_os_error().into());
    }
    if status == 0 {
        Ok(())
    } else {
        Err(format!("it ended with the status {status}").into())
    }
}
