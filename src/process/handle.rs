//! `Process`: the handle to a process.

use super::children;
use super::error::{ExitStatus, ProcessError};
use super::function::Outcome;
use super::known::Child;
use crate::codec;
use crate::error::{Error, Result};
use crate::heap::block::result_field;
use crate::heap::table::index_of;
use crate::os;
use crate::os::clock::Deadline;
use crate::select::{Source, Waitable};
use core::fmt;
use core::marker::PhantomData;
use serde::de::DeserializeOwned;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// A process that runs a function of this program, and returns its result.
///
/// Dropping the handle lets the process run on. It is reaped when it ends, so no zombie remains. When this program
/// ends with exit code 0, it waits for the processes that still run, but ends daemons. When it ends by an error, it
/// ends all of them: see [`init`](crate::init).
///
/// ```
/// use procession::Process;
///
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let sum = Process::spawn(add, (2, 3))?;
///     assert_eq!(sum.join()?, 5);
///     Ok(())
/// }
/// ```
pub struct Process<R> {
    child: Arc<Child>,
    joined: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> Process<R> {
    pub(super) fn new(child: Arc<Child>) -> Self {
        Self {
            child,
            joined: false,
            result: PhantomData,
        }
    }

    /// Returns the process's number in the system.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Returns the process's name.
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Returns whether the process is a daemon.
    pub fn is_daemon(&self) -> bool {
        self.child.daemon
    }

    /// Returns whether the process is still running.
    pub fn is_alive(&self) -> bool {
        matches!(self.child.wait(Deadline::Now), Ok(None))
    }

    /// Returns how the process ended; `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child
            .wait(Deadline::Now)
            .ok()
            .flatten()
            .map(|(status, _)| status)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if there is no memory to clear up after it.
    pub fn wait(&self) -> Result<ExitStatus> {
        self.wait_until(Deadline::Never)
    }

    /// Waits until the process has ended, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; otherwise as for [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<ExitStatus> {
        self.wait_until(Deadline::after(timeout))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<ExitStatus> {
        self.child
            .wait(deadline)?
            .map(|(status, _)| status)
            .ok_or(Error::Timeout)
    }

    /// Asks the process to end, by SIGTERM. It is no error if it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system does not let us.
    pub fn terminate(&self) -> Result<()> {
        self.child.signal(rustix::process::Signal::TERM)
    }

    /// Ends the process, by SIGKILL. It is no error if it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system does not let us.
    pub fn kill(&self) -> Result<()> {
        self.child.signal(rustix::process::Signal::KILL)
    }

    /// Returns a descriptor (a pidfd) that polls readable once the process has ended, to wait for beside other
    /// things. Returns `None` if the process had ended before the descriptor could be opened.
    pub fn sentinel(&self) -> Option<BorrowedFd<'_>> {
        self.child.pidfd()
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits until the process has ended. Returns what its function returned.
    ///
    /// # Errors
    ///
    /// [`Error::Process`] tells how it ended without a result: a panic, an exit, a signal.
    pub fn join(mut self) -> Result<R> {
        self.join_until(Deadline::Never)
    }

    /// Waits like [`join`](Self::join), for at most `timeout`. After a timeout it may be called again.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; otherwise as for [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&mut self, deadline: Deadline) -> Result<R> {
        let name = || self.child.name.clone();
        if self.joined {
            return Err(ProcessError::AlreadyJoined { name: name() }.into());
        }
        let (status, started) = self.child.wait(deadline)?.ok_or(Error::Timeout)?;
        let block = self
            .child
            .heap
            .take_from_entry(result_field(index_of(self.child.id)))?;
        self.joined = true;
        let Some(block) = block else {
            return Err(without_result(self.child.name.clone(), status, started).into());
        };
        let (outcome, at) = codec::decode_prefix::<Outcome>(&block)?;
        match outcome {
            Outcome::Returned => codec::decode_block_from(&block, at),
            Outcome::Panicked { message, location } => Err(ProcessError::Panicked {
                name: self.child.name.clone(),
                message,
                location,
            }
            .into()),
            Outcome::OtherBuild => Err(ProcessError::OtherBuild {
                name: self.child.name.clone(),
            }
            .into()),
            Outcome::Failed(reason) => Err(ProcessError::Failed {
                name: self.child.name.clone(),
                reason,
            }
            .into()),
        }
    }
}

/// Returns the error for a process that left no result.
fn without_result(name: String, status: ExitStatus, started: bool) -> ProcessError {
    match status {
        _ if !started => ProcessError::NotStarted {
            name,
            ended: status.to_string(),
        },
        ExitStatus::Code(code) => ProcessError::Exited { name, code },
        ExitStatus::Signal(signal) => ProcessError::Signaled { name, signal },
        ExitStatus::Unknown => ProcessError::Lost { name },
    }
}

impl<R> Waitable for Process<R> {
    fn source(&self) -> Source<'_> {
        self.sentinel().map_or(Source::ALWAYS, Source::sentinel)
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        let _ = self.child.heap.no_longer_wanted(self.child.id);
        match self.child.wait(Deadline::Now) {
            Ok(Some(_)) => children::remove(self.child.id),
            _ if self.child.via_server => {}
            _ => os::signal::reap_when_dead(self.child.pid),
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.child.name)
            .field("pid", &self.child.pid)
            .field("daemon", &self.child.daemon)
            .field("exit_status", &self.exit_status())
            .finish_non_exhaustive()
    }
}
