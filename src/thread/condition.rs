//! Waiting until something is so, with the lock that guards it.

use super::persist;
use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use crate::wait::BACKSTOP;
use crate::wait::event_count::EventCount;
use crate::wait::interrupt::interrupted;
use core::fmt;
use core::ops::{Deref, DerefMut};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A lock with data inside, and a line of threads that wait for the data to change. All clones are the same condition.
///
/// `notify(n)` wakes the `n` that have waited longest, neither more nor fewer; nobody who comes later, and nobody whose
/// time was up, takes a notification from them.
///
/// A thread that panics while it has the lock lets it go; what it left is there for the next.
///
/// ```
/// use procession::thread::{Condition, Thread};
///
/// let oven = Condition::new(0); // loaves
/// let baker = Thread::spawn({
///     let oven = oven.clone();
///     move || -> procession::Result<()> {
///         let mut loaves = oven.lock()?;
///         *loaves += 12;
///         loaves.notify_all();
///         Ok(())
///     }
/// })?;
/// let mut loaves = oven.lock()?;
/// loaves.wait_for(|&mut loaves| loaves > 0)?;
/// *loaves -= 1;
/// drop(loaves);
/// baker.join()??;
/// # Ok::<(), procession::Error>(())
/// ```
pub struct Condition<T = ()> {
    shared: Arc<ConditionState<T>>,
}

struct ConditionState<T> {
    data: Mutex<T>,
    /// Those who wait, in the order in which they came. Never held while anything else is waited for.
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
}

struct Waiter {
    notified: AtomicBool,
    event_count: EventCount,
}

impl<T> Condition<T> {
    /// A condition about `data`; `()` where that is elsewhere.
    pub fn new(data: T) -> Self {
        Self {
            shared: Arc::new(ConditionState {
                data: Mutex::new(data),
                waiters: Mutex::default(),
            }),
        }
    }

    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] where a hook asks for it.
    pub fn lock(&self) -> Result<ConditionGuard<'_, T>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if somebody has it.
    pub fn try_lock(&self) -> Result<ConditionGuard<'_, T>> {
        self.lock_until(Deadline::Now)
    }

    /// Takes the lock, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; as for [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ConditionGuard<'_, T>> {
        self.lock_until(Deadline::after(timeout))
    }

    fn lock_until(&self, deadline: Deadline) -> Result<ConditionGuard<'_, T>> {
        let shared = &*self.shared;
        let slice = Duration::from_nanos(BACKSTOP);
        loop {
            let timeout = deadline.left().map_or(slice, |left| left.min(slice));
            if let Some(data) = shared.data.try_lock_for(timeout) {
                return Ok(ConditionGuard { shared, data });
            }
            if deadline.passed() {
                return Err(Error::Timeout);
            }
            if interrupted() {
                return Err(Error::Interrupted);
            }
        }
    }
}

impl<T> Clone for Condition<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> fmt::Debug for Condition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("is_locked", &self.shared.data.is_locked())
            .field("waiters", &self.shared.waiters.lock().len())
            .finish_non_exhaustive()
    }
}

/// The lock of a [`Condition`] is held while this lives; it leads to the data.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ConditionGuard<'c, T> {
    shared: &'c ConditionState<T>,
    data: MutexGuard<'c, T>,
}

impl<T> ConditionGuard<'_, T> {
    /// Lets the lock go, waits for a notification, and takes the lock again.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] where a hook asks for it; the lock is held then, too.
    pub fn wait(&mut self) -> Result<()> {
        self.wait_until(Deadline::Never)
    }

    /// The same for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if nobody notified in time; as for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until `condition` is true of the data: looks at once, and again after each notification.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_for(&mut self, condition: impl FnMut(&mut T) -> bool) -> Result<()> {
        self.wait_for_until(condition, Deadline::Never)
    }

    /// The same for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it is not true in time; as for [`wait`](Self::wait).
    pub fn wait_for_timeout(
        &mut self,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> Result<()> {
        self.wait_for_until(condition, Deadline::after(timeout))
    }

    fn wait_for_until(
        &mut self,
        mut condition: impl FnMut(&mut T) -> bool,
        deadline: Deadline,
    ) -> Result<()> {
        let mut ended = Ok(());
        // Looked at once more when the time is up.
        while !condition(&mut self.data) {
            ended?;
            ended = self.wait_until(deadline);
        }
        Ok(())
    }

    fn wait_until(&mut self, deadline: Deadline) -> Result<()> {
        let waiter = Arc::new(Waiter {
            notified: AtomicBool::new(false),
            event_count: EventCount::new(),
        });
        self.shared.waiters.lock().push_back(waiter.clone());
        let notified = || waiter.notified.load(Ordering::Acquire);
        let outcome = MutexGuard::unlocked(&mut self.data, || {
            persist(&waiter.event_count, deadline, notified, || {
                notified().then_some(())
            })
        });
        if outcome.is_err() {
            let mut waiters = self.shared.waiters.lock();
            let Some(position) = waiters.iter().position(|other| Arc::ptr_eq(other, &waiter)) else {
                // Notified at the last moment: it is ours, and nobody else has it.
                return Ok(());
            };
            waiters.remove(position);
        }
        Ok(outcome?)
    }

    /// Wakes the `n` that have waited longest, or all where there are fewer. They go on once this guard is dropped.
    pub fn notify(&self, n: usize) {
        let mut waiters = self.shared.waiters.lock();
        let n = n.min(waiters.len());
        let woken: Vec<_> = waiters.drain(..n).collect();
        drop(waiters);
        for waiter in woken {
            waiter.notified.swap(true, Ordering::AcqRel);
            waiter.event_count.notify_one();
        }
    }

    /// Wakes the one that has waited longest.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }
}

impl<T> Deref for ConditionGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for ConditionGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T: fmt::Debug> fmt::Debug for ConditionGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConditionGuard").field(&*self.data).finish()
    }
}
