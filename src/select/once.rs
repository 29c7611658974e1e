//! Waiting for several things once.

use super::selector::Selector;
use super::source::{SourceKind, Waitable};
use crate::error::{Error, Result};
use crate::heap::internal::until;
use crate::os::clock::Deadline;
use crate::os::ready;
use crate::wait::interrupt::{interrupted, longest_sleep};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Waits until at least one of several things is ready, for at most `timeout` (`None`: for ever). Returns the
/// positions of those that are ready, in order. The list is empty if the time is up, or if there is nothing to wait
/// for.
///
/// Each call checks all things. To wait for the same things over and over, use a [`Selector`](crate::Selector), which
/// costs no more with more members. What its documentation says of dying processes and of the assisting thread holds
/// here too.
///
/// # Errors
///
/// * [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) asks for it.
/// * [`Error::OutOfMemory`].
/// * [`Error::Os`] if the system refuses something.
///
/// ```
/// use procession::{Queue, wait};
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
///
/// let orders: Queue<u32> = Queue::unbounded()?;
/// let (socket, _peer) = UnixStream::pair()?;
/// assert!(wait(&[&orders, &socket], Some(Duration::from_millis(1)))?.is_empty());
/// orders.put(7)?;
/// assert_eq!(wait(&[&orders, &socket], None)?, [0]);
/// # Ok::<(), procession::Error>(())
/// ```
pub fn wait(things: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>> {
    wait_until(things, timeout.map_or(Deadline::Never, Deadline::after))
}

pub(crate) fn wait_until(things: &[&dyn Waitable], deadline: Deadline) -> Result<Vec<usize>> {
    let found = look(things, 0)?;
    if !found.is_empty() || deadline.passed() || things.is_empty() {
        return Ok(found);
    }
    let has_objects = things
        .iter()
        .any(|thing| matches!(thing.source().0, SourceKind::Object(_)));
    if has_objects {
        let selector = until(deadline, || {
            let mut selector = Selector::new()?;
            for thing in things {
                selector.add(*thing)?;
            }
            Ok::<_, Error>(selector)
        });
        let mut selector = selector?;
        let ready = selector.wait_until(deadline)?;
        let mut positions: Vec<_> = ready.into_iter().map(super::Key::index).collect();
        positions.sort_unstable();
        return Ok(positions);
    }
    loop {
        let found = look(things, deadline.within(longest_sleep()))?;
        if !found.is_empty() || deadline.passed() {
            return Ok(found);
        }
        if interrupted() {
            return Err(Error::Interrupted);
        }
    }
}

/// Checks all things, and returns the positions of those that are ready. For descriptors it may wait until the clock
/// shows `moment`.
fn look(things: &[&dyn Waitable], moment: u64) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    let (mut places, mut fds): (Vec<usize>, Vec<BorrowedFd<'_>>) = (Vec::new(), Vec::new());
    for (place, thing) in things.iter().enumerate() {
        match thing.source().0 {
            SourceKind::Object(object) if object.is_ready() => found.push(place),
            SourceKind::Object(_) => {}
            SourceKind::Always => found.push(place),
            SourceKind::Descriptor(fd) | SourceKind::Sentinel(fd) => {
                places.push(place);
                fds.push(fd);
            }
        }
    }
    if !fds.is_empty() {
        let moment = if found.is_empty() { moment } else { 0 };
        found.extend(ready::readable(&fds, moment)?.into_iter().map(|n| places[n]));
        found.sort_unstable();
    }
    Ok(found)
}
