//! Channels between two: pipes in the program's shared memory, and connections over sockets to any program that speaks the
//! wire format of Python's `multiprocessing.connection`. README.md beside this file has both protocols.

mod address;
mod digest;
mod end;
mod error;
mod frame;
#[cfg(any(all(test, not(loom)), fuzzing))]
pub mod fuzz;
mod handshake;
mod listener;
mod newcomer;
mod pipe;
mod socket;

pub use address::Address;
pub(crate) use end::END;
pub use error::{RecvIntoError, SendError};
pub use listener::Listener;
pub use pipe::{
    Connection, OneWay, Receiver, Sender, pipe, pipe_bounded, pipe_one_way, pipe_one_way_bounded,
};
pub use socket::{SocketConnection, SocketReceiver, SocketSender};
