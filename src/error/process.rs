//! The errors of joining a process.

use serde::{Deserialize, Serialize};

/// Why [`join`](crate::Process::join) has no value to return.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProcessError {
    /// The function panicked.
    #[error("process {name:?} panicked at {location}: {message}")]
    Panicked {
        /// The process's name.
        name: String,
        /// The panic's message.
        message: String,
        /// File, line and column.
        location: String,
    },
    /// The process ended before its function returned, for instance by `std::process::exit`.
    #[error("process {name:?} exited with code {code} before its function returned")]
    Exited {
        /// The process's name.
        name: String,
        /// Its exit code.
        code: i32,
    },
    /// A signal ended the process.
    #[error("process {name:?} was killed by signal {signal}")]
    Signaled {
        /// The process's name.
        name: String,
        /// The signal's number: 9 is SIGKILL.
        signal: i32,
    },
    /// The process ended before it began to run its function.
    #[error(
        "process {name:?} ended ({ended}) before it began to run its function: \
         does the program call procession::init() at the start of main()?"
    )]
    NotStarted {
        /// The process's name.
        name: String,
        /// How it ended.
        ended: String,
    },
    /// The process runs another build of the program, in which the function has another address.
    #[error("process {name:?} runs another build of the program, and cannot find the function")]
    OtherBuild {
        /// The process's name.
        name: String,
    },
    /// The arguments could not be decoded, or the result could not be sent.
    #[error("process {name:?} failed: {reason}")]
    Failed {
        /// The process's name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The process ended, and its exit status was collected by other code than this crate's.
    #[error("process {name:?} ended, but its exit status was collected by other code (waitpid)")]
    Lost {
        /// The process's name.
        name: String,
    },
    /// The result was taken by an earlier call.
    #[error("the result of process {name:?} was taken already")]
    AlreadyJoined {
        /// The process's name.
        name: String,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitStatus {
    /// The process exited with this code: 0 if its function returned, 101 if it panicked.
    Code(i32),
    /// This signal killed the process.
    Signal(i32),
    /// The process ended, but its exit status was lost.
    Unknown,
}

impl ExitStatus {
    /// Decodes a status of waitpid(2).
    pub(crate) fn from_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Code(libc::WEXITSTATUS(status))
        }
    }

    /// Returns whether the process's function returned.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl core::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
