//! A bypass: shared memory beside a pipe, in which the contents of a large message are handed over.
//!
//! The descriptor always carries the standard library's stream, so every process that gets the descriptor can read it.
//! A bypass is used only for messages that the descriptor has no room for, and only for descriptors that block.
//!
//! ```text
//!              length, in eight bytes
//!   sender ══════════ descriptor ══════════▶ receiver
//!      └───contents──▶ bypass (a ring of one) ──▶┘
//! ```
//!
//! Steps of the sender:
//!
//! | step | if the sender dies after this step |
//! | --- | --- |
//! | 1. put the contents into the bypass, which has room for one | they stay; this bypass is not used any more |
//! | 2. write the length to the descriptor, in eight bytes | the message is there for receivers that know the bypass |
//! | 3. wait until the contents are taken; then the message is sent | |
//! | 4. or else take them back, and write them to the descriptor | the message is broken off, as in any pipe |
//!
//! A receiver that has read a length in eight bytes looks into the bypass. If the contents are there, it takes them;
//! otherwise they follow in the descriptor. Sender and receiver may both try to take them: the head lock of the
//! bypass's ring decides which of the two gets them. So if a signal handler raises while the sender waits, the message
//! has either been received, or the sender takes the contents back and the message is broken off.
//!
//! The sender takes the contents back in two cases: the other end is closed, or a receiver has read the length and
//! does not take the contents (it does not know the bypass, or it died). While no receiver has read the length, the
//! sender goes on waiting, as it would in `write`.
//!
//! A length in eight bytes always belongs to the contents in the bypass: a message of such a size has its length in
//! eight bytes only if its contents were put before, and no contents are put while there are some. Processes that
//! share an end take turns, as at any pipe.

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

/// The fewest bytes of a message for the bypass: fewer go through any descriptor as quickly.
pub const MIN: usize = 64 << 10;
/// The most bytes of a message for the bypass: more go through the descriptor bit by bit, and take no memory meanwhile.
pub const MAX: usize = 16 << 20;
/// How long a receiver that has read the length has time to take the contents.
const SOON: Duration = Duration::from_millis(10);
/// The longest time between two checks whether a receiver will take the contents.
const SELDOM: Duration = Duration::from_secs(1);
/// After this many messages in a row whose contents no receiver took, this process does not use the bypass any more.
const IN_VAIN: u32 = 3;

/// What became of the contents in the bypass.
pub enum Fate {
    Taken,
    TakenBack,
}

/// One end of a bypass.
#[pyclass(frozen, module = "procession._engine")]
pub struct Bypass {
    inbox: Option<RawQueue>,
    outbox: Option<RawQueue>,
    /// How many messages in a row no receiver took.
    in_vain: AtomicU32,
}

impl Bypass {
    /// Makes an end of these two queues.
    fn of(inbox: Option<RawQueue>, outbox: Option<RawQueue>) -> Self {
        Self {
            inbox,
            outbox,
            in_vain: AtomicU32::new(0),
        }
    }

    /// Makes a bypass and returns its two ends, `None` if there is no memory. If it is not `duplex`, it is only for
    /// what the second end sends.
    pub fn pair(py: Python<'_>, duplex: bool) -> Option<(Self, Self)> {
        let make = || {
            let queue = wait::briefly(py, || RawQueue::new(1)).ok()?;
            queue.set_polls_for_dead();
            Some(queue)
        };
        let there = make()?;
        let back = if duplex { Some(make()?) } else { None };
        // A program that has only pipes waits at no object of the engine, where dead processes would be noticed.
        wait::awake(py, bindings::sweep_dead_rate_limited);
        Some((
            Self::of(Some(there.clone()), back.clone()),
            Self::of(back, Some(there)),
        ))
    }

    /// Returns whether a message may be sent through the bypass now.
    pub fn is_free(&self, py: Python<'_>) -> bool {
        let is_empty = |outbox: &RawQueue| wait::awake(py, || outbox.is_empty());
        self.in_vain.load(Ordering::Relaxed) < IN_VAIN && self.outbox.as_ref().is_some_and(is_empty)
    }

    /// Puts the contents of a message. Returns false if that cannot be done at once.
    pub fn put(&self, py: Python<'_>, contents: Parcel) -> bool {
        let outbox = self.outbox.as_ref();
        outbox.is_some_and(|outbox| put_parcel(py, outbox, contents, Deadline::Now).is_ok())
    }

    /// Takes back the contents of a message. Returns false if they had been taken.
    ///
    /// Raises what a signal handler raised while a receiver was stopped in the middle of taking them. Then it is not
    /// known whether they were taken.
    pub fn take_back(&self, py: Python<'_>) -> PyResult<bool> {
        match &self.outbox {
            Some(outbox) => Ok(take(py, outbox)?.is_some()),
            None => Ok(false),
        }
    }

    /// Waits until a receiver takes the contents, or takes them back when it is clear that none will.
    ///
    /// Raises what a signal handler raised. Then the contents are still there, unless they were taken.
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

    /// Takes the contents of the message of `len` bytes whose length was read, if they are in the bypass.
    ///
    /// Raises what a signal handler raised while a process was stopped in the middle of a change to the bypass.
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

/// Takes the contents in the bypass, if there are any. If another process is stopped in the middle of a change to the
/// bypass, this waits until that process goes on, however long that takes: the other end of the pipe cannot go on
/// before it knows whether the contents were taken.
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

/// Copies `parts`, `len` bytes together, to a parcel for a bypass. Returns `None` if there is no memory.
///
/// # Safety
///
/// The parts may be read, and stay in place, until this returns.
#[allow(unsafe_code)]
pub unsafe fn contents(py: Python<'_>, parts: &[*const [u8]], len: usize) -> Option<Parcel> {
    // SAFETY: by the contract of this function.
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
    /// Return whether a message may be sent through the bypass now.
    fn _is_free(&self, py: Python<'_>) -> bool {
        self.is_free(py)
    }

    /// Return what represents this end in a pickle. `directly` says that the pickle itself is the message, which then
    /// carries the handles. A pickle that is only bytes in a message cannot do that, and has addresses.
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

    /// Return the end that `handle_refs` stand for, `None` if it is of another program or does not exist any more.
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
