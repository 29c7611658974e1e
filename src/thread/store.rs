//! What is under the queues of threads: values under a mutex, and three gates.

use super::persist;
use crate::error::{Error, PutError, Result};
use crate::os::clock::Deadline;
use crate::queue::in_time;
use crate::wait::event_count::{Ended, EventCount};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Values in the order in which they come out.
pub(super) trait StoreOrder<T>: Default {
    fn put(&mut self, value: T);
    fn take(&mut self) -> Option<T>;
    fn len(&self) -> usize;
}

/// First in, first out.
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

/// Last in, first out.
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

/// The smallest first.
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

/// A queue of values in the order of `O`.
pub(super) struct Store<O> {
    values: Mutex<O>,
    /// 0 for no limit.
    capacity: usize,
    // What follows is changed with the mutex held, but for the count of work done, and looked at without.
    len: AtomicUsize,
    closed: AtomicBool,
    unfinished: AtomicUsize,
    not_empty: EventCount,
    not_full: EventCount,
    all_done: EventCount,
}

impl<O: Default> Store<O> {
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

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn is_full(&self) -> bool {
        self.capacity != 0 && self.len() >= self.capacity
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Acquire)
    }

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

    /// Takes the value out of `value` if there is room; `None` where there is none, and one may wait for it.
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
        // Their destructors are not our business, nor is how long they take.
        drop(dropped);
    }

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

    pub(super) fn join(&self, deadline: Deadline) -> Result<()> {
        let done = || self.unfinished() == 0;
        Ok(persist(&self.all_done, deadline, done, || done().then_some(()))?)
    }
}
