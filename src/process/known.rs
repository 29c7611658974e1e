//! A child as its parent knows it: waiting for its end, reaping it, sending it signals.

use super::error::ExitStatus;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::internal;
use crate::os;
use crate::os::clock::Deadline;
use crate::os::kept::Kept;
use crate::wait::BACKSTOP;
use crate::wait::atomic::Ordering;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first pause, in nanoseconds, between checks of a child whose end cannot be waited for.
const PAUSE: u64 = 1_000_000;

/// A child of this process, however it was started.
pub(super) struct Child {
    pub heap: &'static Heap,
    /// Owner id.
    pub id: u32,
    pub pid: u32,
    /// `None` if the child had ended before its pidfd could be opened.
    pub pidfd: Option<Kept>,
    pub name: String,
    pub daemon: bool,
    /// The child's parent in the system is the fork server, which reaps it and writes its status into the table.
    pub via_server: bool,
    /// How the child ended, and whether it got as far as its function.
    pub end: Mutex<Option<(ExitStatus, bool)>>,
}

impl Child {
    /// Waits until the child has ended, reaps it and clears up after it; `None` at the deadline.
    pub(super) fn wait(&self, deadline: Deadline) -> Result<Option<(ExitStatus, bool)>> {
        let mut pause = PAUSE;
        loop {
            if let Some(end) = self.end_now()? {
                return Ok(Some(end));
            }
            if deadline.passed() {
                return Ok(None);
            }
            // The thread waits outside the lock, so that one thread's deadline does not delay another.
            let pidfd = self.pidfd();
            // Other threads may wait for what this process could not give up before.
            self.heap.give_up_postponed();
            let slice = if self.heap.has_postponed() {
                Deadline::At(deadline.within(BACKSTOP))
            } else {
                deadline
            };
            let readable = pidfd.is_some_and(|pidfd| pause == PAUSE && os::pid::wait_dead(pidfd, slice));
            if (!readable && pidfd.is_none()) || pause > PAUSE {
                // Only the status can be polled: the child has no pidfd, or it is dead and a debugger holds back its
                // status.
                os::clock::sleep_until(deadline.within(pause));
            }
            if pidfd.is_none() || readable {
                pause = (2 * pause).min(20 * PAUSE);
            }
        }
    }

    /// Returns how the child ended, if it has. Then it is reaped and cleared up after.
    fn end_now(&self) -> Result<Option<(ExitStatus, bool)>> {
        let mut known = self.lock();
        if known.is_some() {
            return Ok(*known);
        }
        let status = if self.via_server {
            self.status_via_server()
        } else {
            self.reap()
        };
        let Some(status) = status else { return Ok(None) };
        let started = self
            .heap
            .entry_of(self.id)
            .is_none_or(|e| e.started.load(Ordering::Acquire) != 0);
        *known = Some((status, started));
        drop(known);
        // If another process is stopped in the middle of a change, the next check for dead processes clears up.
        match internal::until(Deadline::Now, || self.heap.clear_up(self.id)) {
            Err(Error::OwnerStopped { .. }) => {}
            cleared => cleared?,
        }
        Ok(Some((status, started)))
    }

    /// Returns the child's pidfd, opened anew where the program closed it; `None` if the child has ended.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        let kept = self.pidfd.as_ref()?;
        if kept.get().is_none() {
            let end = self.lock();
            if end.is_none()
                && kept.get().is_none()
                && self.heap.alive(self.id)
                && let Ok(again) = os::pid::open(self.pid)
            {
                kept.keep(again);
            }
        }
        kept.get()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(ExitStatus, bool)>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how a child of this process ended; `None` while it runs.
    fn reap(&self) -> Option<ExitStatus> {
        match os::pid::reap(self.pid) {
            Ok(status) => status.map(ExitStatus::from_wait),
            // Its status was collected by other code of this process.
            Err(_) => (!self.heap.alive(self.id)).then_some(ExitStatus::Unknown),
        }
    }

    /// Returns the status that the fork server writes a moment after the child's end; unknown if the server is gone.
    /// `None` while the child runs.
    fn status_via_server(&self) -> Option<ExitStatus> {
        let entry = self.heap.entry_of(self.id);
        if entry.is_some_and(|entry| entry.status.load(Ordering::Acquire) == 0) && self.heap.alive(self.id) {
            return None;
        }
        let end = Deadline::At(os::clock::now() + BACKSTOP);
        while let Some(entry) = self.heap.entry_of(self.id) {
            let phase = entry.phase.load(Ordering::Acquire);
            match entry.status.load(Ordering::Acquire) {
                0 if end.passed() => break,
                0 => {
                    entry.phase.futex_wait(phase, end.within(BACKSTOP));
                }
                status => return Some(ExitStatus::from_wait(status as i32 - 1)),
            }
        }
        Some(ExitStatus::Unknown)
    }

    /// Sends a signal to the child. It is no error if the child has ended.
    pub(super) fn signal(&self, signal: os::signal::Signal) -> Result<()> {
        if let Some(pidfd) = self.pidfd()
            && os::pid::kill(pidfd, signal).is_ok()
        {
            return Ok(());
        }
        // There is no pidfd. As long as the child is not collected, no other process has its number.
        match self.end_now()? {
            Some(_) => Ok(()),
            None => os::pid::kill_by_number(self.pid, signal),
        }
    }
}
