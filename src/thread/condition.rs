//! A condition variable with its lock and its data.

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

/// A lock with data inside, and a queue of threads that wait for the data to change. All clones are the same condition.
///
/// `notify(n)` wakes exactly the `n` threads that have waited longest. No thread that begins to wait later, and no
/// thread whose timeout has passed, takes a notification from them.
///
/// If a thread panics while it holds the lock, the lock is released. The next owner finds the data as the thread left
/// it.
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
    /// The waiting threads, the longest waiting one first. No thread waits for anything else while it holds this mutex.
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
}

struct Waiter {
    notified: AtomicBool,
    event_count: EventCount,
}

impl<T> Condition<T> {
    /// Makes a condition about `data`. Use `()` if the data is elsewhere.
    pub fn new(data: T) -> Self {
        Self {
            shared: Arc::new(ConditionState {
                data: Mutex::new(data),
                waiters: Mutex::default(),
            }),
        }
    }

    /// Takes the lock, and waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) ends the wait.
    pub fn lock(&self) -> Result<ConditionGuard<'_, T>> {
        self.lock_until(Deadline::Never)
    }

    /// Takes the lock if it is free, without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if another thread holds the lock.
    pub fn try_lock(&self) -> Result<ConditionGuard<'_, T>> {
        self.lock_until(Deadline::Now)
    }

    /// Takes the lock, and waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`]; as for [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ConditionGuard<'_, T>> {
        self.lock_until(Deadline::after(timeout))
    }

    /// Takes the lock, and waits until `deadline`. It asks the hook for interruptions after each slice.
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

/// Holds the lock of a [`Condition`], and gives access to the data. Dropping it releases the lock.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ConditionGuard<'c, T> {
    shared: &'c ConditionState<T>,
    data: MutexGuard<'c, T>,
}

impl<T> ConditionGuard<'_, T> {
    /// Releases the lock, waits for a notification, and takes the lock again.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) ends the wait. The lock is
    /// held after an error too.
    pub fn wait(&mut self) -> Result<()> {
        self.wait_until(Deadline::Never)
    }

    /// Waits like [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if there was no notification in time; as for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until `condition` is true for the data. It is checked at once, and again after each notification.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_for(&mut self, condition: impl FnMut(&mut T) -> bool) -> Result<()> {
        self.wait_for_until(condition, Deadline::Never)
    }

    /// Waits like [`wait_for`](Self::wait_for), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if `condition` is not true in time; as for [`wait`](Self::wait).
    pub fn wait_for_timeout(
        &mut self,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> Result<()> {
        self.wait_for_until(condition, Deadline::after(timeout))
    }

    /// Waits until `condition` is true or `deadline` passes.
    fn wait_for_until(
        &mut self,
        mut condition: impl FnMut(&mut T) -> bool,
        deadline: Deadline,
    ) -> Result<()> {
        let mut ended = Ok(());
        // After the deadline, the condition is checked once more.
        while !condition(&mut self.data) {
            ended?;
            ended = self.wait_until(deadline);
        }
        Ok(())
    }

    /// Waits for a notification until `deadline`.
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
                // Notified at the last moment: the notification was for this thread alone.
                return Ok(());
            };
            waiters.remove(position);
        }
        Ok(outcome?)
    }

    /// Wakes the `n` threads that have waited longest, or all if there are fewer. They continue after this guard is
    /// dropped.
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

    /// Wakes the thread that has waited longest.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all waiting threads.
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
