//! A barrier: no party goes on until all have arrived. The protocol is in ../README.md.

mod arrive;
mod state;

pub use arrive::{Acting, Arrival};
pub(crate) use state::BARRIER;
pub(super) use state::forsake;

use crate::codec::Handle;
use crate::error::{Error, Result};
use crate::heap::internal::insist;
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use core::fmt;
use serde::{Deserialize, Serialize};
use state::{BarrierKind, BarrierLayout, barrier, break_it};
use std::time::Duration;

/// A barrier for a number of parties (processes or threads): each waits until all have arrived, and then all go on.
///
/// A handle can be cloned, passed to processes and sent through queues. A barrier can be passed any number of times.
/// If a process dies after it has arrived, or during its action, the barrier is broken within a second, and the other
/// parties are told. A process that dies before it arrives is waited for, like one that is late. The semantics are
/// those of Python's `multiprocessing.Barrier`, except that there the survivors wait for ever.
///
/// ```
/// use procession::{Barrier, Process};
///
/// fn step(together: Barrier) -> procession::Result<usize> {
///     together.wait()
/// }
///
/// # #[procession::main]
/// fn main() -> procession::Result<()> {
///     let together = Barrier::new(2)?;
///     let other = Process::spawn(step, together.clone())?;
///     let mine = together.wait()?;
///     assert_eq!(mine + other.join()??, 1); // one was number 0 and one number 1
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Barrier(Handle<BarrierKind>);

impl From<Handle<BarrierKind>> for Barrier {
    fn from(handle: Handle<BarrierKind>) -> Self {
        Self(handle)
    }
}

impl Barrier {
    /// Makes a barrier for `parties` parties.
    ///
    /// # Errors
    ///
    /// [`Error::NoParties`] for 0; [`Error::OutOfMemory`], or what the system said when the program's shared memory
    /// was set up.
    pub fn new(parties: usize) -> Result<Self> {
        if parties == 0 {
            return Err(Error::NoParties);
        }
        let barrier = Self(Handle::new()?);
        barrier.shared().parties.store(parties as u64, Ordering::Relaxed);
        Ok(barrier)
    }

    fn shared(&self) -> &BarrierLayout {
        self.0.layout()
    }

    fn generation(&self) -> u64 {
        self.shared().generation.load(Ordering::Acquire)
    }

    /// Waits until all parties have arrived. Returns the number of this one, counted from 0 in the order of arrival.
    ///
    /// # Errors
    ///
    /// * [`Error::BrokenBarrier`] if the barrier is broken, or breaks before all have arrived.
    /// * [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) asks for it: then it is as if
    ///   this party had not come.
    /// * [`Error::OutOfMemory`] if there is no memory for a record of this party.
    pub fn wait(&self) -> Result<usize> {
        self.pass(Deadline::Never, None::<fn()>)
    }

    /// Passes the barrier if all other parties have arrived already.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if they have not, and nothing is changed; as for [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<usize> {
        self.pass(Deadline::Now, None::<fn()>)
    }

    /// Waits as [`wait`](Self::wait) does, for at most `timeout`. At the timeout the barrier is broken for all parties.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] for the party that has timed out; as for [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize> {
        self.pass(Deadline::after(timeout), None::<fn()>)
    }

    /// Waits as [`wait`](Self::wait) does. The last party to arrive calls `action` before any goes on. A panic in
    /// `action` breaks the barrier.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_then(&self, action: impl FnOnce()) -> Result<usize> {
        self.pass(Deadline::Never, Some(action))
    }

    /// Waits as [`wait_then`](Self::wait_then) does, for at most `timeout`. The action itself has no deadline, but
    /// the other parties wait for it no longer than their timeouts.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](Self::wait_timeout).
    pub fn wait_then_timeout(&self, timeout: Duration, action: impl FnOnce()) -> Result<usize> {
        self.pass(Deadline::after(timeout), Some(action))
    }

    fn pass(&self, deadline: Deadline, action: Option<impl FnOnce()>) -> Result<usize> {
        match self.arrive(deadline, action.is_some())? {
            Arrival::Passed(index) => Ok(index),
            Arrival::Acts(acting) => {
                if let Some(action) = action {
                    action();
                }
                acting.done()
            }
        }
    }

    /// Breaks the barrier: all waiting parties, and all that come until it is [reset](Self::reset), get
    /// [`Error::BrokenBarrier`].
    pub fn abort(&self) {
        self.break_or_mend(true);
    }

    /// Resets the barrier: all waiting parties get [`Error::BrokenBarrier`]. Parties that arrive after this wait for
    /// all parties, as at a new barrier.
    pub fn reset(&self) {
        self.break_or_mend(false);
    }

    fn break_or_mend(&self, broken: bool) {
        // This fails only in a process that cannot use shared memory at all.
        let _ = insist(|| self.try_break_or_mend(broken));
    }

    pub(crate) fn try_break_or_mend(&self, broken: bool) -> Result<()> {
        let off = self.0.off();
        self.0.heap().transact(|tx| {
            break_it(tx, off);
            tx.set(barrier!(off, broken), u64::from(broken));
            Ok(())
        })?;
        self.shared().event_count.notify_all();
        Ok(())
    }

    /// Returns the number of parties that the barrier is for.
    pub fn parties(&self) -> usize {
        self.shared().parties.load(Ordering::Relaxed) as usize
    }

    /// Returns the number of waiting parties. It may be out of date when you read it.
    pub fn waiting(&self) -> usize {
        self.shared().count.load(Ordering::Relaxed) as usize
    }

    /// Returns true if the barrier is broken.
    pub fn is_broken(&self) -> bool {
        self.shared().broken.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn handle(&self) -> &Handle<BarrierKind> {
        &self.0
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}
