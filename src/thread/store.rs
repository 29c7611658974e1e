//! The store under the queues between threads: values under a mutex, and three event counts for waiting.

use super::persist;
use crate::error::{Error, PutError, Result};
use crate::os::clock::Deadline;
use crate::queue::in_time;
use crate::wait::event_count::{Ended, EventCount};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A collection of values that returns them in a certain order.
pub(super) trait StoreOrder<T>: Default {
    /// Adds a value.
    fn put(&mut self, value: T);
    /// Removes the next value and returns it.
    fn take(&mut self) -> Option<T>;
    /// Returns the number of values.
    fn len(&self) -> usize;
}

/// Returns the first value first.
impl<T> StoreOrder<T> for VecDeque<T> {
    fn put(&mut self, value: T) {
        self.push_back(value);
    }
    fn take(&mut self) -> Option<T> {
        self.pop_front()
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// Returns the last value first.
impl<T> StoreOrder<T> for Vec<T> {
    fn put(&mut self, value: T) {
        self.push(value);
    }
    fn take(&mut self) -> Option<T> {
        self.pop()
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// Returns the smallest value first.
impl<T: Ord> StoreOrder<T> for BinaryHeap<Reverse<T>> {
    fn put(&mut self, value: T) {
        self.push(Reverse(value));
    }
    fn take(&mut self) -> Option<T> {
        self.pop().map(|Reverse(value)| value)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

/// A queue of values in the order of `O`, for any number of producers and consumers.
pub(super) struct Store<O> {
    values: Mutex<O>,
    /// The largest number of values, 0 for no limit.
    capacity: usize,
    // The fields from here on are changed with the mutex held (`unfinished` also without), and read without it.
    len: AtomicUsize,
    closed: AtomicBool,
    /// Values put whose `task_done` has not been called.
    unfinished: AtomicUsize,
    not_empty: EventCount,
    not_full: EventCount,
    all_done: EventCount,
}

impl<O: Default> Store<O> {
    /// Makes an empty store for `capacity` values, 0 for no limit.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            values: Mutex::default(),
            capacity,
            len: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            unfinished: AtomicUsize::new(0),
            not_empty: EventCount::new(),
            not_full: EventCount::new(),
            all_done: EventCount::new(),
        }
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Returns the largest number of values, 0 for no limit.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.capacity != 0 && self.len() >= self.capacity
    }

    /// Returns whether the queue was shut down.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns the number of values whose work is not done.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Acquire)
    }

    /// Puts `value`, and waits for room until `deadline`.
    pub(super) fn put<T>(&self, value: T, deadline: Deadline) -> Result<(), PutError<T>>
    where
        O: StoreOrder<T>,
    {
        let mut left = Some(value);
        let ready = || !self.is_full() || self.is_closed();
        let ended = persist(&self.not_full, deadline, ready, || self.try_put(&mut left)).err();
        match left {
            None => Ok(()),
            Some(value) => Err(match ended {
                None => PutError::ShutDown(value),
                Some(Ended::Interrupted) => PutError::Failed(value, Error::Interrupted),
                Some(Ended::Late) if deadline == Deadline::Now => PutError::Full(value),
                Some(Ended::Late) => PutError::Timeout(value),
            }),
        }
    }

    /// Puts the value if there is room, and leaves `None` in `value`. Returns `None` if there is no room and the caller
    /// may wait.
    fn try_put<T>(&self, value: &mut Option<T>) -> Option<()>
    where
        O: StoreOrder<T>,
    {
        let mut values = self.values.lock();
        if self.is_closed() {
            return Some(());
        }
        if self.is_full() {
            return None;
        }
        if let Some(value) = value.take() {
            self.unfinished.fetch_add(1, Ordering::AcqRel);
            values.put(value);
        }
        self.len.swap(values.len(), Ordering::AcqRel);
        drop(values);
        self.not_empty.notify_one();
        Some(())
    }

    /// Takes the next value, and waits for one until `deadline`.
    pub(super) fn get<T>(&self, deadline: Deadline) -> Result<T>
    where
        O: StoreOrder<T>,
    {
        let ready = || self.len() > 0 || self.is_closed();
        let got = persist(&self.not_empty, deadline, ready, || self.try_get());
        got.unwrap_or_else(|ended| {
            Err(match ended {
                Ended::Late => in_time(Error::Empty, deadline),
                Ended::Interrupted => Error::Interrupted,
            })
        })
    }

    /// Takes the next value. Returns `None` if there is none and the caller may wait.
    fn try_get<T>(&self) -> Option<Result<T>>
    where
        O: StoreOrder<T>,
    {
        let mut values = self.values.lock();
        let Some(value) = values.take() else {
            return self.is_closed().then_some(Err(Error::ShutDown));
        };
        self.len.swap(values.len(), Ordering::AcqRel);
        drop(values);
        self.not_full.notify_one();
        Some(Ok(value))
    }

    /// Shuts the queue down. With `discard`, drops the values that are left.
    pub(super) fn shutdown<T>(&self, discard: bool)
    where
        O: StoreOrder<T>,
    {
        let mut values = self.values.lock();
        self.closed.swap(true, Ordering::AcqRel);
        let dropped = if discard {
            self.len.swap(0, Ordering::AcqRel);
            self.unfinished.fetch_sub(values.len(), Ordering::AcqRel);
            core::mem::take(&mut *values)
        } else {
            O::default()
        };
        drop(values);
        for event_count in [&self.not_empty, &self.not_full, &self.all_done] {
            event_count.wake_unconditionally();
        }
        // Without the lock, because the values' destructors may take any time, or use this queue.
        drop(dropped);
    }

    /// Counts the work on one value as done.
    pub(super) fn task_done(&self) -> Result<()> {
        let less = |n: usize| n.checked_sub(1);
        match self
            .unfinished
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
        {
            Err(_) => Err(Error::TooManyTasksDone),
            Ok(before) => {
                if before == 1 {
                    self.all_done.wake_unconditionally();
                }
                Ok(())
            }
        }
    }

    /// Waits until the work on all values is done.
    pub(super) fn join(&self, deadline: Deadline) -> Result<()> {
        let done = || self.unfinished() == 0;
        Ok(persist(&self.all_done, deadline, done, || done().then_some(()))?)
    }
}
