//! Counting permits, between threads.

use super::persist;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::wait::event_count::EventCount;
use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A number of permits that threads take and give back. All clones are the same semaphore.
///
/// ```
/// use procession::thread::Semaphore;
/// let desks = Semaphore::bounded(2);
/// let (_one, two) = (desks.acquire()?, desks.acquire()?);
/// assert!(desks.try_acquire().is_err());
/// drop(two);
/// assert_eq!(desks.value(), 1);
/// # Ok::<(), procession::Error>(())
/// ```
#[derive(Clone)]
pub struct Semaphore {
    shared: Arc<SemaphoreState>,
}

struct SemaphoreState {
    value: AtomicUsize,
    max: usize,
    free: EventCount,
}

impl Semaphore {
    /// A semaphore with `value` permits.
    pub fn new(value: usize) -> Self {
        Self::with(value, usize::MAX)
    }

    /// The same, but releasing it more often than it was acquired is an error.
    pub fn bounded(value: usize) -> Self {
        Self::with(value, value)
    }

    fn with(value: usize, max: usize) -> Self {
        Self {
            shared: Arc::new(SemaphoreState {
                value: AtomicUsize::new(value),
                max,
                free: EventCount::new(),
            }),
        }
    }

    /// Takes a permit, waiting for one; it goes back when the answer is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] where a hook asks for it.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Never)
    }

    /// Takes a permit if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if there is none.
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

    fn acquire_until(&self, deadline: Deadline) -> Result<Permit<'_>> {
        let SemaphoreState { value, free, .. } = &*self.shared;
        let less = |n: usize| n.checked_sub(1);
        persist(
            free,
            deadline,
            || self.value() > 0,
            || value.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok(),
        )?;
        Ok(Permit { semaphore: self })
    }

    /// Gives back a permit that was [forgotten](Permit::forget), or adds one.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReleases`] for a bounded semaphore that has all its permits.
    pub fn release(&self) -> Result<()> {
        let SemaphoreState { value, max, free } = &*self.shared;
        let more = |n: usize| (n < *max).then(|| n + 1);
        value
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|_| Error::TooManyReleases { max: *max as u64 })?;
        free.notify_one();
        Ok(())
    }

    /// Permits to be had; with others at work, old news at once.
    pub fn value(&self) -> usize {
        self.shared.value.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .finish_non_exhaustive()
    }
}

/// A permit of a [`Semaphore`], given back when this is dropped.
#[must_use = "the permit goes back when this is dropped"]
#[derive(Debug)]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
}

impl Permit<'_> {
    /// Keeps the permit beyond this value, for [`Semaphore::release`] to give back.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // It can only fail where somebody released a permit that was not theirs.
        let _ = self.semaphore.release();
    }
}
