//! Counting permits, which come back when their holder is killed. The protocol is in ../README.md.

mod state;

pub(crate) use state::SEMAPHORE;

use crate::codec::Handle;
use crate::error::{Error, Result};
use crate::heap::internal;
use crate::heap::waiter::Purpose;
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use crate::wait::event_count::Ended;
use core::fmt;
use serde::{Deserialize, Serialize};
use state::{EAGER, SemaphoreKind, View};
use std::time::Duration;

/// The largest value, as `sem_post(3)` and Python have it.
pub(crate) const MAX_PERMITS: u64 = i32::MAX as u64;

/// A semaphore between processes and threads: so many permits, and whoever wants one waits until there is one.
///
/// A handle can be cloned, passed to processes and sent through queues. When a process is killed, the permits it had come back
/// (those it acquired less those it released, as far as there were that many in the beginning), and as many of the next to
/// acquire are told by [`Permit::owner_died`]. What a process has [forgotten](Permit::forget) that ends in an orderly way (it
/// returns, panics or calls [`exit`](std::process::exit)) stays taken, for somebody else to [release](Self::release). The
/// semantics are those of Python's `multiprocessing.Semaphore` and `BoundedSemaphore`, which lose the permits of the killed.
///
/// ```
/// use procession::Semaphore;
/// let tables = Semaphore::bounded(2)?;
/// let _first = tables.acquire()?;
/// {
///     let _second = tables.acquire()?;
///     assert!(tables.try_acquire().is_err());
/// }
/// assert_eq!(tables.value(), 1);
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Semaphore(Handle<SemaphoreKind>);

impl From<Handle<SemaphoreKind>> for Semaphore {
    fn from(handle: Handle<SemaphoreKind>) -> Self {
        Self(handle)
    }
}

impl Semaphore {
    /// A semaphore with `value` permits, which may be released more often than it is acquired.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::Capacity`] for a value beyond 2³¹ − 1; what the system said when the program's
    /// shared memory was set up.
    pub fn new(value: usize) -> Result<Self> {
        Self::with(value as u64, MAX_PERMITS)
    }

    /// The same, but releasing it more often than it was acquired is an error.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn bounded(value: usize) -> Result<Self> {
        Self::with(value as u64, value as u64)
    }

    pub(crate) fn with(value: u64, most: u64) -> Result<Self> {
        if value > MAX_PERMITS {
            return Err(Error::Capacity {
                given: value,
                max: MAX_PERMITS,
            });
        }
        let semaphore = Self(Handle::new()?);
        let shared = semaphore.0.layout();
        shared.initial.store(value, Ordering::Relaxed);
        shared.most.store(most, Ordering::Relaxed);
        shared.bias_after.store(EAGER, Ordering::Relaxed);
        shared.value.store(value, Ordering::Release);
        Ok(semaphore)
    }

    #[inline]
    fn view(&self) -> View<'_> {
        View {
            heap: self.0.heap(),
            shared: self.0.layout(),
        }
    }

    /// Takes a permit, waiting for one; it goes back when the answer is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] where a hook asks for it.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if there is none.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Now)
    }

    /// Takes a permit, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; as for [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::after(timeout))
    }

    #[inline]
    pub(crate) fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let owner = self.0.me();
        if self.0.layout().bias.take(owner) {
            return Ok(Permit {
                semaphore: self,
                owner,
                returned: false,
            });
        }
        self.acquire_locked(deadline)
    }

    #[inline(never)]
    fn acquire_locked(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let view = self.view();
        let has_some = || self.value() > 0;
        // The permits may be with somebody dead.
        let idle = || self.0.heap().sweep_dead_rate_limited();
        let announce = || self.0.heap().waiting_for(self.0.off(), Purpose::Permit);
        // Where the tally is, is asked each time: a hook may have forked.
        let attempt = || {
            internal::until(deadline, || {
                view.try_acquire(|| self.0.heap().tally_of(self.0.object()))
            })
            .transpose()
        };
        let taken = (view.shared.free).persist(deadline, has_some, has_some, idle, announce, attempt);
        match taken {
            Ok(returned) => Ok(Permit {
                semaphore: self,
                owner: self.0.me(),
                returned: returned?,
            }),
            Err(Ended::Late) => Err(Error::Timeout),
            Err(Ended::Interrupted) => Err(Error::Interrupted),
        }
    }

    /// Gives back a permit that was [forgotten](Permit::forget), or adds one.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReleases`] for a bounded semaphore that has all its permits, or at 2³¹ − 1.
    #[inline]
    pub fn release(&self) -> Result<()> {
        self.view().release(|| self.0.heap().tally_of(self.0.object()))
    }

    /// Gives back a permit that this process has.
    #[inline]
    fn put_back(&self) {
        if !self.release_quick() {
            self.put_back_locked();
        }
    }

    #[inline(never)]
    fn put_back_locked(&self) {
        // This fails only where somebody released a permit that was not theirs. A process that is stopped in the middle of a
        // change is waited for.
        let _ = internal::insist(|| self.release());
    }

    /// Takes a permit if this process is favoured, and has one.
    #[inline]
    pub(crate) fn take_quick(&self) -> bool {
        self.0.layout().bias.take(self.0.me())
    }

    /// Gives a permit back if this process is favoured.
    #[inline]
    pub(crate) fn release_quick(&self) -> bool {
        let shared = self.0.layout();
        let given = shared.bias.give_back(self.0.me());
        if given {
            shared.free.notify_one();
        }
        given
    }

    /// Whether somebody is in the middle of a change.
    pub(crate) fn is_in_change(&self) -> bool {
        self.0.layout().lock.owner() != 0
    }

    /// Permits to be had; with others at work, old news at once.
    pub fn value(&self) -> usize {
        self.0.layout().to_be_had() as usize
    }

    pub(crate) fn handle(&self) -> &Handle<SemaphoreKind> {
        &self.0
    }
}

impl Drop for Semaphore {
    /// The tally that a bias speaks of goes with the process's last handle, so no bias outlasts a handle.
    fn drop(&mut self) {
        let view = self.view();
        if view.shared.bias.is_towards(self.0.me()) && view.locked(|| Ok(())).is_err() {
            // Somebody is stopped who is in the middle of a change: then the reference stays as long as this process.
            core::mem::forget(self.0.clone());
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .finish_non_exhaustive()
    }
}

/// A permit of a [`Semaphore`], given back when this is dropped. In a forked child the copy is empty: the parent has it.
#[must_use = "the permit goes back when this is dropped"]
#[derive(Debug)]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    owner: u32,
    returned: bool,
}

impl Permit<'_> {
    /// Whether a process died with this permit: what the permit stands for may be half done.
    pub fn owner_died(&self) -> bool {
        self.returned
    }

    /// Keeps the permit beyond this value, for [`Semaphore::release`] to give back.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.owner == self.semaphore.0.me() {
            self.semaphore.put_back();
        }
    }
}
