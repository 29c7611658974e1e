//! All error types of the crate. They can travel between processes, except those that give back a value.
//!
//! This room is below all others and knows none of them. [`Error`] is the common type. An operation that takes a value
//! away from its caller has an error of its own, which gives the value back and turns into an [`Error`] with `?`.
//!
//! | operation | error | gives back |
//! | --- | --- | --- |
//! | putting into a queue | [`PutError`] | the value |
//! | sending through a pipe | [`SendError`] | the value |
//! | receiving into a buffer | [`RecvIntoError`] | the message, if the buffer is too short |
//! | taking a lock | [`LockError`] | the guard, if the last owner died |
//! | joining a process or thread | [`ProcessError`], [`ThreadError`] | - |
//! | a handshake | [`AuthenticationError`] | - |

mod authentication;
mod lock;
mod process;
mod put;
mod recv_into;
mod send;
mod thread;

pub use authentication::AuthenticationError;
pub use lock::LockError;
pub use process::{ExitStatus, ProcessError};
pub use put::PutError;
pub use recv_into::RecvIntoError;
pub(crate) use recv_into::copy_into;
pub use send::SendError;
pub use thread::ThreadError;

use serde::{Deserialize, Serialize};

/// The result type of this crate's functions.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Any error of the crate.
///
/// Operations that take a value have an error of their own that gives the value back ([`PutError`] for instance). It
/// turns into this type with `?`. This type can be the result of a process's function: it can travel between processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The queue was shut down and, for a `get`, is empty.
    #[error("the queue is shut down")]
    ShutDown,
    /// The other end of a pipe or connection is gone, and nothing is left to receive.
    #[error("disconnected: the peer is gone, and nothing is left to receive")]
    Disconnected,
    /// The other end of a pipe or connection is gone, so what is sent can never be received.
    #[error("broken pipe: the peer is gone, and cannot receive any more")]
    BrokenPipe,
    /// A message is longer than the buffer that was given for it.
    #[error("a message of {len} bytes does not fit into a buffer of {room} bytes: give a larger buffer")]
    BufferTooShort {
        /// Bytes of the message.
        len: u64,
        /// Bytes of the buffer.
        room: u64,
    },
    /// A bounded queue or pipe has no room, and the call does not wait.
    #[error("the queue is full")]
    Full,
    /// A queue or pipe has no message, and the call does not wait.
    #[error("the queue is empty")]
    Empty,
    /// The operation did not finish within its timeout.
    #[error("timed out")]
    Timeout,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended a wait.
    #[error("interrupted while waiting")]
    Interrupted,
    /// A consumer of a queue that tracks its consumers died between `get` and `task_done`.
    #[error("consumers died with {items} items they had taken and not finished")]
    ConsumerDied {
        /// Items taken and never finished.
        items: u64,
    },
    /// The process that held a lock died. What the lock protects may be half changed.
    #[error("process {pid} died while it held the lock: what the lock protects may be half changed")]
    OwnerDied {
        /// The dead process, 0 if it is no longer known.
        pid: u32,
    },
    /// A process was stopped (by a signal, by a debugger, with its container) in the middle of a change to shared
    /// memory. The operation must wait until that process continues or ends. Nothing was changed.
    #[error(
        "process {pid} ({name:?}) is stopped in the middle of a change to the program's shared memory: \
         continue it (SIGCONT) or end it"
    )]
    OwnerStopped {
        /// The stopped process, 0 if it is not known.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// This process has no entry in the program's process table, so nothing it did could be undone at its death.
    /// Therefore it may not use anything that is shared. It was forked when the table had no room for it, or by a
    /// system call that the C library does not see.
    #[error(
        "this process has no entry in its program's process table, and cannot use what is shared: \
         it was forked when the table was full, or by a bare clone(2)"
    )]
    NoIdentity,
    /// Another thread or process is in the middle of a change, and the caller must not sleep. Only functions for
    /// bindings of other languages return this error.
    #[doc(hidden)]
    #[error("another thread or process is in the middle of a change")]
    Busy,
    /// A lock was released that no thread holds. For a recursive lock: that this thread does not hold.
    #[error("released a lock that is not held")]
    NotLocked,
    /// This thread already has a guard of the value or array, and would wait for itself.
    #[error("this thread holds the lock already, and would wait for itself: drop the guard first")]
    AlreadyLocked,
    /// An array has no element with this index.
    #[error("there is no element {index} in an array of {len}")]
    OutOfBounds {
        /// The index that was given.
        index: usize,
        /// Elements of the array.
        len: usize,
    },
    /// A bounded semaphore was released more times than it was acquired.
    #[error("a semaphore was released more times than it was acquired: its value cannot exceed {max}")]
    TooManyReleases {
        /// The largest value.
        max: u64,
    },
    /// A barrier is broken: a party timed out or died, or the barrier was aborted or reset.
    #[error("the barrier is broken: a party timed out or died, or the barrier was aborted or reset")]
    BrokenBarrier,
    /// A barrier was to be made for no parties.
    #[error("a barrier needs at least one party, not 0")]
    NoParties,
    /// `task_done` was called more times than items were put.
    #[error("task_done() called more times than items were put into the queue")]
    TooManyTasksDone,
    /// The name for new shared memory is taken.
    #[error("there is shared memory with the name {name:?} already: open it, or choose another name")]
    MemoryExists {
        /// The name.
        name: String,
    },
    /// There is no shared memory with this name.
    #[error("there is no shared memory with the name {name:?}")]
    NoSuchMemory {
        /// The name.
        name: String,
    },
    /// Shared memory cannot have this name.
    #[error("shared memory cannot be named {name:?}: a name has 1 to 255 bytes, without '/' and NUL")]
    BadName {
        /// The name.
        name: String,
    },
    /// A range of bytes reaches beyond the end of shared memory.
    #[error("{len} bytes at offset {offset} reach beyond the end of shared memory of {size} bytes")]
    OutOfRange {
        /// Offset of the first byte.
        offset: usize,
        /// Bytes of the range.
        len: usize,
        /// Bytes of the shared memory.
        size: usize,
    },
    /// The system or the program's heap has no memory left.
    #[error("out of shared memory: {requested} more bytes were asked for")]
    OutOfMemory {
        /// Bytes that were asked for.
        requested: u64,
    },
    /// A message, value or array is larger than the heap can ever hold.
    #[error("{len} bytes do not fit: this program's heap can hold at most {max} bytes in one piece")]
    TooLarge {
        /// Bytes that were asked for.
        len: u64,
        /// Bytes of the largest possible piece.
        max: u64,
    },
    /// A queue's capacity is zero, or too large to be counted.
    #[error("a queue's capacity must be from 1 to {max}, not {given}")]
    Capacity {
        /// The capacity that was given.
        given: u64,
        /// The largest capacity.
        max: u64,
    },
    /// A value could not be turned into bytes.
    #[error("cannot encode the value: {reason}")]
    Encode {
        /// The message of serde or postcard.
        reason: String,
    },
    /// Bytes could not be turned into a value.
    #[error("cannot decode a {expected}: {reason}")]
    Decode {
        /// The type that was expected.
        expected: String,
        /// The message of serde or postcard.
        reason: String,
    },
    /// A handle was serialised by another serialiser than this crate's, or belongs to another program.
    #[error(
        "a queue, lock or other shared object can only travel inside its program, through a queue or as an argument \
         or result: {reason}"
    )]
    ForeignHandle {
        /// What is wrong with the handle.
        reason: String,
    },
    /// The process table is full.
    #[error("the process table is full: this program has {max} processes already")]
    TooManyProcesses {
        /// Entries in the table.
        max: u64,
    },
    /// A handshake failed: one side did not prove to the other that it has the key.
    #[error("authentication failed: {0}")]
    Authentication(#[from] AuthenticationError),
    /// A connection ended in the middle of a message.
    #[error("the connection ended in the middle of a message: {got} of {expected} bytes arrived")]
    Truncated {
        /// Bytes of the message. 0 if not even its length has arrived.
        expected: u64,
        /// Bytes that have arrived.
        got: u64,
    },
    /// A message on a connection is longer than its limit.
    #[error("a message of {len} bytes was announced, but the limit is {limit} bytes")]
    FrameTooLarge {
        /// Bytes of the message, as the peer announced it.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes that arrived on a connection are not a message.
    #[error("the peer sent bytes that are not a message: the length would be {length}")]
    BadFrame {
        /// The value in place of the length.
        length: i32,
    },
    /// Only a part of a message was sent before the timeout. The rest is kept, and is sent before the next message.
    #[error("only a part of the message was sent in time: {left} bytes are left for flush or the next send")]
    PartlySent {
        /// Bytes still to be sent.
        left: u64,
    },
    /// A process holds the largest possible number of references to shared objects.
    #[error("this process holds {max} shared objects already: drop some")]
    TooManyObjects {
        /// The limit.
        max: u64,
    },
    /// A process was to be started before `procession::init()` ran.
    #[error(
        "this program cannot start processes yet: call procession::init() at the start of main(), \
         or put #[procession::main] on it (#[procession::test] on a test)"
    )]
    NotInitialised,
    /// A daemon process tried to start a process.
    #[error("a daemon process may not have children")]
    DaemonChildren,
    /// A function cannot be sent to the new process by this start method.
    #[error("{0}")]
    Unsendable(String),
    /// A process ended without a result.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A thread ended without a result.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// A system call failed.
    #[error("{call}: {}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// The call that failed.
        call: String,
        /// Its error number.
        errno: i32,
    },
    /// The limit on the size of files (`ulimit -f`) is too small for the file that holds the shared memory.
    #[error(
        "the limit on the size of files (RLIMIT_FSIZE, ulimit -f) is {limit} bytes, \
         and the program's shared memory is a file: raise it (ulimit -f unlimited) before the program starts"
    )]
    FileSizeLimit {
        /// The limit.
        limit: u64,
    },
    /// The program closed a descriptor that this crate needs.
    #[error("the program closed descriptor {number}, which was {what}")]
    DescriptorLost {
        /// The descriptor's number.
        number: i32,
        /// What the descriptor was for.
        what: String,
    },
    /// Shared memory has unexpected contents.
    #[error("the program's shared memory cannot be used: {0}")]
    BadHeap(String),
}

impl Error {
    /// Returns the error of the system call `call` that failed with `errno`.
    pub(crate) fn os(call: &str, errno: i32) -> Self {
        Self::Os {
            call: call.to_owned(),
            errno,
        }
    }

    /// Does the same as [`os`](Self::os) for an error number of `rustix`.
    pub(crate) fn errno(call: &str, errno: rustix::io::Errno) -> Self {
        Self::os(call, errno.raw_os_error())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os("input or output", errno),
            None => Self::Os {
                call: error.to_string(),
                errno: libc::EIO,
            },
        }
    }
}
