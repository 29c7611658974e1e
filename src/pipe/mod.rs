//! Pipes between processes: two rings in shared memory between two ends, or one ring for one direction.
//!
//! README.md beside this file has the protocol, and a table of what the peer finds after a death at each step.

mod connection;
mod end;

pub use connection::{Connection, OneWay, Receiver, Sender};
pub(crate) use end::END;

use crate::error::Result;
use crate::queue::bounded_ring;
use crate::queue::ring::Ring;

/// The number of messages that a pipe has room for in each direction, if the caller gives none.
///
/// Messages are counted, not their bytes, because the ring has the count anyway and checking it costs nothing. The
/// number is large enough for both sides to work at the same time, and limits the memory that a stopped reader can
/// cost.
const ROOM: usize = 1000;

/// Makes a pipe, and returns its two ends.
///
/// Each end sends to the other, with room for 1000 messages in each direction. `send` waits while there is no room.
///
/// ```
/// use procession::{Connection, Process, pipe};
///
/// fn double(questions: Connection<u64, u64>) {
///     while let Ok(number) = questions.recv() {
///         questions.send(2 * number).unwrap();
///     }
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let (here, there) = pipe()?;
///     let helper = Process::spawn(double, there)?;
///     here.send(21)?;
///     assert_eq!(here.recv()?, 42);
///     drop(here); // ends the helper's recv
///     helper.join()?;
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or [`Error::Os`](crate::Error::Os) if the program's shared memory
/// could not be set up.
pub fn pipe<A, B>() -> Result<(Connection<A, B>, Connection<B, A>)> {
    pipe_bounded(ROOM)
}

/// Makes a pipe like [`pipe`], with room for `capacity` messages in each direction.
///
/// ```
/// let (here, there) = procession::pipe_bounded::<u8, ()>(1)?;
/// here.send(1)?;
/// assert_eq!(here.try_send(2).unwrap_err().into_inner(), 2);
/// # drop(there);
/// # Ok::<(), procession::Error>(())
/// ```
///
/// # Errors
///
/// As for [`pipe`]; [`Error::Capacity`](crate::Error::Capacity) if `capacity` is 0 or too large.
pub fn pipe_bounded<A, B>(capacity: usize) -> Result<(Connection<A, B>, Connection<B, A>)> {
    let (there, back) = (ring(capacity)?, ring(capacity)?);
    Ok((
        Connection::new(Some(back.clone()), Some(there.clone()))?,
        Connection::new(Some(there), Some(back))?,
    ))
}

/// Makes a pipe for one direction, with room for 1000 messages.
///
/// Returns the receiving end first, as Python's `Pipe` does.
///
/// ```
/// let (receiver, sender) = procession::pipe_one_way()?;
/// sender.send("whole or not at all".to_string())?;
/// drop(sender);
/// assert_eq!(receiver.recv()?, "whole or not at all");
/// assert_eq!(receiver.recv(), Err(procession::Error::Disconnected));
/// # Ok::<(), procession::Error>(())
/// ```
///
/// # Errors
///
/// As for [`pipe`].
pub fn pipe_one_way<T>() -> Result<(Receiver<T>, Sender<T>)> {
    pipe_one_way_bounded(ROOM)
}

/// Makes a pipe like [`pipe_one_way`], with room for `capacity` messages.
///
/// # Errors
///
/// As for [`pipe_bounded`].
pub fn pipe_one_way_bounded<T>(capacity: usize) -> Result<(Receiver<T>, Sender<T>)> {
    let ring = ring(capacity)?;
    Ok((
        Connection::new(Some(ring.clone()), None)?,
        Connection::new(None, Some(ring))?,
    ))
}

/// Makes the ring of one direction.
fn ring(capacity: usize) -> Result<Ring> {
    // The ring has no message type: the ends have it.
    let ring = bounded_ring(capacity, 0)?;
    ring.set_polls_for_dead();
    Ok(ring)
}
