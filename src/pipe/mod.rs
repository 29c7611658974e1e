//! Pipes: two rings in shared memory between two ends, or one ring. README.md beside this file has the protocol.

mod connection;
mod end;

pub use connection::{Connection, OneWay, Receiver, Sender};
pub(crate) use end::END;

use crate::error::Result;
use crate::queue::bounded_ring;
use crate::queue::ring::Ring;

/// Messages a pipe has room for in each direction. Counted and not weighed, because the ring knows its count anyway, so that
/// looking for room costs nothing; enough for both sides to be at work at once, and an end to the memory that a reader who
/// has stopped can cost.
const ROOM: usize = 1000;

/// Two ends connected with each other, each with room for 1000 messages on their way to it; whoever is further ahead waits.
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
///     drop(here); // the helper's recv ends
///     helper.join()?;
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
pub fn pipe<A, B>() -> Result<(Connection<A, B>, Connection<B, A>)> {
    pipe_bounded(ROOM)
}

/// The same with room for `capacity` messages in each direction.
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
/// As for [`pipe`]; [`Error::Capacity`] for 0.
pub fn pipe_bounded<A, B>(capacity: usize) -> Result<(Connection<A, B>, Connection<B, A>)> {
    let (there, back) = (ring(capacity)?, ring(capacity)?);
    Ok((
        Connection::new(Some(back.clone()), Some(there.clone()))?,
        Connection::new(Some(there), Some(back))?,
    ))
}

/// A pipe for one direction only, with room for 1000 messages; first the end that reads, as Python has it.
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

/// The same with room for `capacity` messages.
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

fn ring(capacity: usize) -> Result<Ring> {
    // What its messages are is known by the ends' types.
    let ring = bounded_ring(capacity, 0)?;
    ring.set_polls_for_dead();
    Ok(ring)
}
