//! The shared memory beside a pipe, through which a large message may take a short cut.
//!
//! What is in the descriptor is the standard library's stream whatever happens, so whoever gets hold of the descriptor can
//! read it. A message that the descriptor has no room for is sent like this:
//!
//! | step of who sends | if it dies behind it |
//! | --- | --- |
//! | the contents are put into the bypass, which has room for one | they stay there, and this bypass is not used any more |
//! | the length is written to the descriptor, in eight bytes | the message is there, for those who know the bypass |
//! | it waits until the contents are taken: done | |
//! | or else it takes them back, and writes them to the descriptor | the message is broken off, as in any pipe |
//!
//! Who reads a length in eight bytes looks into the bypass. Either the contents are there, or they follow in the descriptor:
//! the latch of the bypass's ring decides who of the two takes them. So a handler that raises while the sender waits finds the
//! message received, or has it taken back: then it is broken off.
//!
//! The sender takes the contents back where the other end is closed, and where somebody has read the length and does not come
//! for the contents: he does not know the bypass, or died. While nobody has read the length it goes on waiting, as it would in
//! `write`. That is why a bypass is only for messages that the descriptor has no room for, and for descriptors that wait.
//!
//! A length in eight bytes belongs to the contents in the bypass, because a message of that size has such a length only if its
//! contents were put before, and nobody puts any while there are some. Who shares an end takes turns, as at any pipe.

use crate::buffer::Lent;
use crate::handles::{self, HandleRef};
use crate::parcel::Parcel;
use crate::queue::put_parcel;
use crate::stream::Stream;
use crate::wait::{self, patiently};
use procession::Error;
use procession::bindings::{self, Deadline, Handle, HandleKind, RawQueue, Received};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Less goes through any descriptor as quickly.
pub const MIN: usize = 64 << 10;
/// Larger ones go through the descriptor bit by bit, and take no memory meanwhile.
pub const MAX: usize = 16 << 20;
/// How long somebody who has read the length has time to take the contents.
const SOON: Duration = Duration::from_millis(10);
/// How often at least it is looked whether somebody will.
const SELDOM: Duration = Duration::from_secs(1);
/// A bypass that was in vain so many times, one after the other, is not used any more by this process.
const IN_VAIN: u32 = 3;

/// What became of contents in the bypass.
pub enum Fate {
    Taken,
    TakenBack,
}

/// One end of a bypass.
#[pyclass(frozen, module = "procession._engine")]
pub struct Bypass {
    inbox: Option<RawQueue>,
    outbox: Option<RawQueue>,
    /// How many times nobody has come, since somebody has.
    in_vain: AtomicU32,
}

impl Bypass {
    fn of(inbox: Option<RawQueue>, outbox: Option<RawQueue>) -> Self {
        Self {
            inbox,
            outbox,
            in_vain: AtomicU32::new(0),
        }
    }

    /// The ends of a new one, if there is memory; for what the second sends only, where it is not `duplex`.
    pub fn pair(py: Python<'_>, duplex: bool) -> Option<(Self, Self)> {
        let make = || {
            let queue = wait::briefly(py, || RawQueue::new(1)).ok()?;
            queue.set_polls_for_dead();
            Some(queue)
        };
        let there = make()?;
        let back = if duplex { Some(make()?) } else { None };
        // Programs that only have pipes wait at none of the engine's things, where the dead would be noticed.
        wait::awake(py, bindings::sweep_dead_rate_limited);
        Some((
            Self::of(Some(there.clone()), back.clone()),
            Self::of(back, Some(there)),
        ))
    }

    /// Whether a message may be sent this way.
    pub fn is_free(&self, py: Python<'_>) -> bool {
        let is_empty = |outbox: &RawQueue| wait::awake(py, || outbox.is_empty());
        self.in_vain.load(Ordering::Relaxed) < IN_VAIN && self.outbox.as_ref().is_some_and(is_empty)
    }

    /// Puts the contents of a message, if there are none.
    pub fn put(&self, py: Python<'_>, contents: Parcel) -> bool {
        let outbox = self.outbox.as_ref();
        outbox.is_some_and(|outbox| put_parcel(py, outbox, contents, Deadline::Now).is_ok())
    }

    /// Takes the contents of a message that was not taken; whether they were still there.
    ///
    /// Raises what a signal handler raised while somebody was stopped who is in the middle of taking them: it is not known.
    pub fn take_back(&self, py: Python<'_>) -> PyResult<bool> {
        match &self.outbox {
            Some(outbox) => Ok(take(py, outbox)?.is_some()),
            None => Ok(false),
        }
    }

    /// Waits until the contents are taken by somebody, or it is clear that nobody will.
    ///
    /// Raises what a signal handler raised; the contents are still there then, unless they were taken.
    pub fn wait_taken(&self, py: Python<'_>, stream: &Stream<'_>) -> PyResult<Fate> {
        let Some(outbox) = &self.outbox else {
            return Ok(Fate::Taken);
        };
        let (mut span, mut was_read) = (SOON, false);
        loop {
            let taken = patiently(py, Deadline::after(span), |until| {
                outbox.wait_writable(until)?.then_some(()).ok_or(Error::Full)
            });
            match taken {
                Ok(()) => {
                    self.in_vain.store(0, Ordering::Relaxed);
                    return Ok(Fate::Taken);
                }
                Err(Error::Full) => {}
                Err(Error::Interrupted) => return Err(wait::pending()),
                Err(error) => return Err(crate::errors::from_engine(py, error)),
            }
            let is_read = stream.is_read();
            if stream.is_broken() || (was_read && is_read) {
                if !self.take_back(py)? {
                    return Ok(Fate::Taken);
                }
                self.in_vain.fetch_add(1, Ordering::Relaxed);
                return Ok(Fate::TakenBack);
            }
            was_read = is_read;
            span = if is_read { SOON } else { (2 * span).min(SELDOM) };
        }
    }

    /// The contents of the message of `len` bytes whose length was read, if they are in the bypass.
    ///
    /// Raises what a signal handler raised while somebody was stopped who is in the middle of a change to the bypass.
    pub fn take(&self, py: Python<'_>, len: usize) -> PyResult<Option<Parcel>> {
        match &self.inbox {
            Some(inbox) => Ok(take(py, inbox)?.filter(|contents| contents.len() == len)),
            None => Ok(None),
        }
    }
}

impl Drop for Bypass {
    fn drop(&mut self) {
        for queue in [self.inbox.take(), self.outbox.take()].into_iter().flatten() {
            if bindings::awake(|| queue.is_empty()).0 {
                wait::let_go(queue);
            } else {
                wait::let_go_of_much(queue);
            }
        }
    }
}

/// Takes what is in the bypass. The other end waits for the answer, whatever it is, so somebody who is stopped is waited for like
/// somebody who does not read.
fn take(py: Python<'_>, queue: &RawQueue) -> PyResult<Option<Parcel>> {
    loop {
        let taken = wait::briefly(py, || queue.get(&mut Vec::new(), Deadline::Now));
        match taken {
            Ok(Received::Parcel(parcel)) => return Ok(Some(parcel.into())),
            Err(Error::OwnerStopped { .. }) => wait::look_for_signals_now(py)?,
            Err(Error::Interrupted) => return Err(wait::pending()),
            _ => return Ok(None),
        }
    }
}

/// What consists of `parts`, `len` bytes together, as contents for a bypass; `None` where there is no memory.
///
/// # Safety
///
/// The parts may be read, and stay where they are, until this returns.
#[allow(unsafe_code)]
pub unsafe fn contents(py: Python<'_>, parts: &[*const [u8]], len: usize) -> Option<Parcel> {
    // SAFETY: the caller's promise.
    let parts: Vec<Lent> = parts.iter().map(|&part| unsafe { Lent::of(part) }).collect();
    let filled = Parcel::filled(py, len, &[], Deadline::Never, |parcel| {
        let mut at = 0;
        for part in parts {
            part.copy_to(&mut parcel[at..at + part.len()]);
            at += part.len();
        }
    });
    filled.ok()
}

type HandleRefs = (Option<HandleRef>, Option<HandleRef>);

#[pymethods]
impl Bypass {
    /// Whether a message may be sent this way.
    fn _is_free(&self, py: Python<'_>) -> bool {
        self.is_free(py)
    }

    /// What stands for this end in a pickle; `directly`, if that is the message itself, and not bytes in it.
    fn _handle_refs(&self, directly: bool) -> HandleRefs {
        let handle_ref = |queue: &Option<RawQueue>| {
            let handle = Handle::from(queue.as_ref()?);
            Some(if directly {
                handles::reference_to(handle)
            } else {
                handles::address(&handle)
            })
        };
        (handle_ref(&self.inbox), handle_ref(&self.outbox))
    }

    /// The end that handle_refs stand for, if it is of this program and somebody has kept it.
    #[staticmethod]
    fn _resolve(py: Python<'_>, handle_refs: HandleRefs) -> Option<Self> {
        let resolve = |handle_ref: Option<HandleRef>| match handle_ref {
            None => Some(None),
            Some(handle_ref) => Some(Some(
                handles::resolve(py, &handle_ref, HandleKind::RawQueue)
                    .ok()?
                    .try_into()
                    .ok()?,
            )),
        };
        Some(Self::of(resolve(handle_refs.0)?, resolve(handle_refs.1)?))
    }
}
