//! Channels between two: pipes in the program's shared memory, and connections over sockets to any program that speaks the
//! wire format of Python's `multiprocessing.connection`. README.md beside this file has both protocols.

mod end;
mod error;
mod pipe;

pub(crate) use end::END;
pub use error::{RecvIntoError, SendError};
pub use pipe::{
    Connection, OneWay, Receiver, Sender, pipe, pipe_bounded, pipe_one_way, pipe_one_way_bounded,
};
