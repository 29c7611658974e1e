//! Connections over sockets, to any program that speaks the wire format of Python's `multiprocessing.connection`.
//! README.md beside this file has the protocol.

mod address;
mod digest;
mod frame;
#[cfg(any(all(test, not(loom)), fuzzing))]
pub mod fuzz;
mod halves;
mod handshake;
mod listener;
mod newcomer;
mod socket;
mod wait;

pub use address::Address;
pub use halves::{SocketReceiver, SocketSender};
pub use listener::Listener;
pub use socket::SocketConnection;
