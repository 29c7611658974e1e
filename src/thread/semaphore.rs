//! A counting semaphore between threads.

use super::persist;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::wait::event_count::EventCount;
use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A semaphore: a number of permits that threads acquire and release. All clones are the same semaphore.
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
    /// Makes a semaphore with `value` permits.
    pub fn new(value: usize) -> Self {
        Self::with(value, usize::MAX)
    }

    /// Makes a semaphore with `value` permits, which is its largest value: releasing it more times than it was acquired
    /// is an error.
    pub fn bounded(value: usize) -> Self {
        Self::with(value, value)
    }

    /// Makes a semaphore whose value cannot exceed `max`.
    fn with(value: usize, max: usize) -> Self {
        Self {
            shared: Arc::new(SemaphoreState {
                value: AtomicUsize::new(value),
                max,
                free: EventCount::new(),
            }),
        }
    }

    /// Acquires a permit, and waits for one. Dropping the [`Permit`] releases it.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) ends the wait.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Never)
    }

    /// Acquires a permit if there is one, without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if there is none.
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::Now)
    }

    /// Acquires a permit, and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; as for [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Deadline::after(timeout))
    }

    /// Acquires a permit, and waits until `deadline`.
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

    /// Releases a permit that was [forgotten](Permit::forget), or adds one.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReleases`] if the semaphore is bounded and has all its permits.
    pub fn release(&self) -> Result<()> {
        let SemaphoreState { value, max, free } = &*self.shared;
        let more = |n: usize| (n < *max).then(|| n + 1);
        value
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|_| Error::TooManyReleases { max: *max as u64 })?;
        free.notify_one();
        Ok(())
    }

    /// Returns the number of free permits. While other threads use the semaphore, it may be outdated at once.
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

/// A permit of a [`Semaphore`]. Dropping it releases the permit.
#[must_use = "the permit is released when this is dropped"]
#[derive(Debug)]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
}

impl Permit<'_> {
    /// Keeps the permit acquired after this value is gone. [`Semaphore::release`] releases it.
    pub fn forget(self) {
        core::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // It fails only if another thread released a permit that it had not acquired.
        let _ = self.semaphore.release();
    }
}
