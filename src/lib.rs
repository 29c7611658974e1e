#![doc = include_str!("../README.md")]

#[doc(hidden)]
pub mod bindings;
mod codec;
mod connection;
#[cfg(all(test, not(loom)))]
mod crash_tests;
mod entry;
mod error;
mod heap;
mod inspect;
mod os;
mod panic;
mod pipe;
mod process;
mod program;
mod queue;
mod select;
mod shared;
mod shm;
mod sync;
pub mod thread;
mod wait;

/// The crate of the trait [`Pod`](bytemuck::Pod), which the elements of a [`Value`] or [`Array`] implement. To derive
/// `Pod`, add `#[bytemuck(crate = "procession::bytemuck")]` to the type, or add `bytemuck` to your own dependencies.
pub use bytemuck;
pub use connection::{Address, Listener, SocketConnection, SocketReceiver, SocketSender};
pub use entry::init;
pub use error::{
    AuthenticationError, Error, ExitStatus, LockError, ProcessError, PutError, RecvIntoError, Result,
    SendError,
};
pub use inspect::{Deadlock, Inspection, ObjectReport, Party, ProcessReport, User, WaitReport, inspect};
pub use os::clock::Deadline;
pub use pipe::{
    Connection, OneWay, Receiver, Sender, pipe, pipe_bounded, pipe_one_way, pipe_one_way_bounded,
};
pub use process::{
    Builder, Function, Process, ProcessInfo, StartMethod, Stdio, active_children, cpu_count, current, parent,
};
pub use procession_macros::{main, test};
pub use queue::{
    AnyJoinableQueue, AnyQueue, ByteQueue, Iter, JoinableQueue, Message, Producer, Queue, Reservation,
    SimpleQueue,
};
#[doc(hidden)]
pub use select::Source;
pub use select::{Key, Selector, Waitable, wait};
pub use shared::{Array, ArrayGuard, Atomic, Number, Primitive, RawArray, RawValue, Value, ValueGuard};
pub use shm::SharedMemory;
pub use sync::{
    Barrier, Condition, ConditionGuard, Event, Lock, LockGuard, Permit, RLock, RLockGuard, Semaphore,
};
pub use wait::interrupt::on_interrupt;

/// Returns the bytes of shared memory that all processes of the program occupy together at this moment.
///
/// # Errors
///
/// [`Error::Os`] if the system cannot tell.
///
/// ```
/// assert!(procession::resident_bytes()? < 64 << 20);
/// # Ok::<(), procession::Error>(())
/// ```
pub fn resident_bytes() -> Result<u64> {
    program::heap()?.resident()
}

/// Functions that the attribute macros call. Not for other use.
#[doc(hidden)]
pub mod __private {
    pub use crate::entry::test_entry;
}

/// Functions that the fuzzer calls. See the folder `fuzz`.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod __fuzz {
    pub use crate::connection::fuzz::{frames, handshake, message, tampered};
}
