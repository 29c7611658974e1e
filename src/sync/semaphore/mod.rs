//! A semaphore, whose permits come back when their holder is killed. The protocol is in ../README.md.

mod state;

pub(crate) use state::SEMAPHORE;

use crate::codec::Handle;
use crate::error::{Error, Result};
use crate::heap::internal;
use crate::heap::waiter::{Announced, Purpose};
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use crate::wait::event_count::{Ended, Wait};
use core::fmt;
use serde::{Deserialize, Serialize};
use state::{EAGER, SemaphoreKind, View};
use std::time::Duration;

/// The largest value, the same as that of `sem_post(3)` and of Python.
pub(crate) const MAX_PERMITS: u64 = i32::MAX as u64;

/// A semaphore between processes and threads: a number of permits. A thread that wants one waits until one is free.
///
/// A handle can be cloned, passed to processes and sent through queues. When a process is killed, its permits come
/// back: those it acquired less those it released, but never so many that there are more than in the beginning. As
/// many of the next to acquire are told by [`Permit::owner_died`]. When a process ends in an orderly way (it returns,
/// panics or calls [`exit`](std::process::exit)), the permits that it has [forgotten](Permit::forget) stay taken, for
/// another process to [release](Self::release). The semantics are those of Python's `multiprocessing.Semaphore` and
/// `BoundedSemaphore`, which lose the permits of a killed process.
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
    /// Makes a semaphore with `value` permits. It may be released more often than it is acquired.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::Capacity`] for a value beyond 2³¹ − 1; what the system said when the program's
    /// shared memory was set up.
    pub fn new(value: usize) -> Result<Self> {
        Self::with(value as u64, MAX_PERMITS)
    }

    /// Makes a semaphore with `value` permits. Releasing it more often than it was acquired is an error.
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

    /// Takes a permit, waiting for one. It goes back when the returned value is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) asks for it.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if none is free.
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
        let mut acquiring = Acquiring {
            semaphore: self,
            deadline,
        };
        let taken = self.0.layout().free.attempt_or_wait(&mut acquiring, deadline);
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
        // This fails only if a permit was released that was not acquired. A process that is stopped in the middle of
        // a change is waited for.
        let _ = internal::insist(|| self.release());
    }

    /// Takes a permit if the bias is towards this process and one is free.
    #[inline]
    pub(crate) fn take_quick(&self) -> bool {
        self.0.layout().bias.take(self.0.me())
    }

    /// Gives a permit back if the bias is towards this process and it has one.
    #[inline]
    pub(crate) fn release_quick(&self) -> bool {
        let shared = self.0.layout();
        let given = shared.bias.give_back(self.0.me());
        if given {
            shared.free.notify_one();
        }
        given
    }

    /// Returns true if a thread is in the middle of a change.
    pub(crate) fn is_in_change(&self) -> bool {
        self.0.layout().lock.owner() != 0
    }

    /// Returns the number of free permits. It may be out of date when you read it.
    pub fn value(&self) -> usize {
        self.0.layout().to_be_had() as usize
    }

    pub(crate) fn handle(&self) -> &Handle<SemaphoreKind> {
        &self.0
    }
}

impl Drop for Semaphore {
    /// Ends a bias towards this process: the tally that the bias goes with is given up with the process's last handle.
    fn drop(&mut self) {
        let view = self.view();
        if view.shared.bias.is_towards(self.0.me()) && view.locked(|| Ok(())).is_err() {
            // A process is stopped in the middle of a change. Then the reference stays for as long as this process
            // lives.
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

/// A permit of a [`Semaphore`], given back when this is dropped. In a forked child the copy does nothing: the permit
/// is the parent's.
#[must_use = "the permit goes back when this is dropped"]
#[derive(Debug)]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    owner: u32,
    returned: bool,
}

impl Permit<'_> {
    /// Returns true if a process died with this permit: what the permit stands for may be half done.
    pub fn owner_died(&self) -> bool {
        self.returned
    }

    /// Gives up this value and keeps the permit taken, for [`Semaphore::release`] to give back.
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

/// The wait for a permit. The answer is true if the permit came back from a dead process.
struct Acquiring<'s> {
    semaphore: &'s Semaphore,
    deadline: Deadline,
}

impl Wait for Acquiring<'_> {
    type Answer = Result<bool>;
    type Announced = Announced<'static>;

    fn attempt(&mut self) -> Option<Self::Answer> {
        let (view, handle) = (self.semaphore.view(), &self.semaphore.0);
        // The place of the tally is found each time, because a hook may have forked.
        internal::until(self.deadline, || {
            view.try_acquire(|| handle.heap().tally_of(handle.object()))
        })
        .transpose()
    }

    fn is_ready(&self) -> bool {
        self.semaphore.value() > 0
    }

    fn announce(&self) -> Self::Announced {
        let handle = &self.semaphore.0;
        handle.heap().waiting_for(handle.off(), Purpose::Permit)
    }

    fn on_idle(&self) {
        // The permits may belong to a process that has died.
        self.semaphore.0.heap().sweep_dead_rate_limited();
    }
}
