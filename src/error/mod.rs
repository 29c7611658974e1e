//! The crate's error: typed, with the values a caller needs, and able to travel between processes.

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

/// What the functions of this crate return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Everything that can go wrong, of every part of the crate.
///
/// Operations that take a value have an error of their own that gives the value back ([`PutError`](crate::PutError)); it
/// turns into this one with `?`. This type can be a function's result and so crosses processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The queue was shut down and, for a `get`, is empty.
    #[error("the queue is shut down")]
    ShutDown,
    /// The other end of a pipe or connection is gone, and nothing is left to receive.
    #[error("disconnected: the peer is gone, and nothing is left to receive")]
    Disconnected,
    /// The other end of a pipe or connection is gone: nobody will read what is sent.
    #[error("broken pipe: the other end is gone")]
    BrokenPipe,
    /// A message is longer than the buffer that was given for it.
    #[error("a message of {len} bytes does not fit into a buffer of {room}")]
    BufferTooShort {
        /// Bytes of the message.
        len: u64,
        /// Bytes of the buffer.
        room: u64,
    },
    /// A bounded queue has no room.
    #[error("the queue is full")]
    Full,
    /// There is nothing in the queue.
    #[error("the queue is empty")]
    Empty,
    /// The time given to an operation passed.
    #[error("timed out")]
    Timeout,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended a wait.
    #[error("interrupted while waiting")]
    Interrupted,
    /// A consumer of a watched queue died between `get` and `task_done`.
    #[error("consumers died with {items} items they had taken and not finished")]
    ConsumerDied {
        /// Items taken and never finished.
        items: u64,
    },
    /// The process that held a lock died; what the lock protects may be half changed.
    #[error("process {pid} died while it held the lock; what it protects may be half changed")]
    OwnerDied {
        /// The dead process, 0 if it is no longer known.
        pid: u32,
    },
    /// A process that is stopped (by a signal, a debugger, with its container) is in the middle of a change to what is shared,
    /// and nothing can be done about that before it goes on or ends. Nothing was changed.
    #[error(
        "process {pid} ({name:?}) is stopped in the middle of a change to the program's shared memory: continue it (SIGCONT) or end it"
    )]
    OwnerStopped {
        /// The stopped process, 0 if it is not known.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// This process has no entry in the program's process table, so nothing it did could be undone at its death: it may do
    /// nothing with what is shared. It was forked when there was no room for it, or by a system call that the C library does
    /// not see.
    #[error(
        "this process has no place in its program's process table, and cannot use what is shared: it was forked when there was no room for it, or by a bare clone(2)"
    )]
    NoIdentity,
    /// Somebody else is in the middle of a change, and the caller must not sleep. For front doors; no other call returns it.
    #[doc(hidden)]
    #[error("somebody else is in the middle of a change")]
    Busy,
    /// A lock was released that nobody (or, for a recursive one, somebody else) holds.
    #[error("released a lock that is not held")]
    NotLocked,
    /// This thread has a guard of the value or array already, and would wait for itself.
    #[error("this thread holds the lock already, and would wait for itself")]
    AlreadyLocked,
    /// An array has no such element.
    #[error("there is no element {index} in an array of {len}")]
    OutOfBounds {
        /// The element asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// A bounded semaphore was released more often than it was acquired.
    #[error("a semaphore was released more often than it was acquired: its value cannot exceed {max}")]
    TooManyReleases {
        /// The largest value.
        max: u64,
    },
    /// A barrier was broken: somebody timed out, somebody died, or it was aborted or reset.
    #[error("the barrier is broken")]
    BrokenBarrier,
    /// A barrier was to be for nobody.
    #[error("a barrier needs at least one party")]
    NoParties,
    /// `task_done` was called more often than there were items.
    #[error("task_done() called more often than items were put into the queue")]
    TooManyTasksDone,
    /// Something has the name that shared memory was to get.
    #[error("there is shared memory with the name {name:?} already")]
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
    #[error("shared memory cannot be named {name:?}: from 1 to 255 bytes, without '/' and NUL, are a name")]
    BadName {
        /// The name.
        name: String,
    },
    /// Bytes were asked for that a piece of shared memory does not have.
    #[error("{len} bytes at offset {offset} are not all in shared memory of {size} bytes")]
    OutOfRange {
        /// The first byte asked for.
        offset: usize,
        /// Bytes asked for.
        len: usize,
        /// Bytes there are.
        size: usize,
    },
    /// The system or the program's heap has no memory left.
    #[error("out of shared memory: {requested} bytes more were asked for")]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
    },
    /// A message, value or array can never fit.
    #[error(
        "{len} bytes do not fit: the largest message or array this program's heap can hold is {max} bytes"
    )]
    TooLarge {
        /// Bytes asked for.
        len: u64,
        /// Bytes of the largest possible piece.
        max: u64,
    },
    /// A capacity of zero, or one too large to count.
    #[error("a queue's capacity must be from 1 to {max}, not {given}")]
    Capacity {
        /// What was asked for.
        given: u64,
        /// The largest capacity.
        max: u64,
    },
    /// A value could not be turned into bytes.
    #[error("cannot encode the value: {reason}")]
    Encode {
        /// What serde or postcard said.
        reason: String,
    },
    /// Bytes could not be turned into a value.
    #[error("cannot decode a {expected}: {reason}")]
    Decode {
        /// The type that was expected.
        expected: String,
        /// What serde or postcard said.
        reason: String,
    },
    /// A handle was serialised by something else than this crate, or belongs to another program.
    #[error(
        "a queue, lock or anything else that is shared can only travel inside its program, through a queue or as an argument or result: {reason}"
    )]
    ForeignHandle {
        /// What was wrong with it.
        reason: String,
    },
    /// The process table is full.
    #[error("the process table is full: this program has {max} processes already")]
    TooManyProcesses {
        /// Entries in the table.
        max: u64,
    },
    /// A connection's peer could not show that it has the key, or would not believe this side.
    #[error("authentication failed: {0}")]
    Authentication(#[from] AuthenticationError),
    /// A connection ended in the middle of a message.
    #[error("the connection ended in the middle of a message: {got} of {expected} bytes are here")]
    Truncated {
        /// Bytes of the message; 0 where not even that has arrived.
        expected: u64,
        /// Those that have arrived.
        got: u64,
    },
    /// A message on a connection is longer than its limit.
    #[error("a message of {len} bytes was announced; the limit is {limit}")]
    FrameTooLarge {
        /// Bytes of the message, as the peer has it.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// What came over a connection is not a message.
    #[error("what the peer sends is no message: its length would be {length}")]
    BadFrame {
        /// What stands where the length should be.
        length: i32,
    },
    /// Part of a message was sent before the time was up; the rest is kept and goes out before the next message.
    #[error("only a part of the message was sent in time; {left} bytes are kept to be sent")]
    PartlySent {
        /// Bytes still to be sent.
        left: u64,
    },
    /// A process holds more objects than it can have.
    #[error("this process holds {max} objects already")]
    TooManyObjects {
        /// The limit.
        max: u64,
    },
    /// A process was to be started before `procession::init()` ran.
    #[error(
        "this program cannot start processes yet: call procession::init() at the start of main(), or put #[procession::main] on it (#[procession::test] on a test)"
    )]
    NotInitialised,
    /// A daemon process tried to start a process.
    #[error("a daemon process may not have children")]
    DaemonChildren,
    /// A function was to be started that this way of starting cannot send.
    #[error("{0}")]
    Unsendable(String),
    /// The process did not return a value.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The thread did not return a value.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The operating system refused something.
    #[error("{call}: {}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// The call that failed.
        call: String,
        /// Its error number.
        errno: i32,
    },
    /// The limit on the size of files (`ulimit -f`) is too small for the file that shared memory is.
    #[error(
        "the limit on the size of files (RLIMIT_FSIZE, ulimit -f) is {limit} bytes, and the program's shared memory is a file: raise it (ulimit -f unlimited) before the program starts"
    )]
    FileSizeLimit {
        /// The limit.
        limit: u64,
    },
    /// The program closed a descriptor that this crate needs.
    #[error("the program closed descriptor {number}, which was {what}")]
    DescriptorLost {
        /// Its number.
        number: i32,
        /// What it was.
        what: String,
    },
    /// Shared memory is not what it should be.
    #[error("the program's shared memory cannot be used: {0}")]
    BadHeap(String),
}

impl Error {
    pub(crate) fn os(call: &str, errno: i32) -> Self {
        Self::Os {
            call: call.to_owned(),
            errno,
        }
    }

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
