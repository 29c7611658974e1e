//! The bridge from a ready set to a descriptor, for a selector with members of both kinds.
//!
//! A thread sleeps at the ready set. When a member is marked there, the thread raises a flag: an eventfd, which the
//! selector has among its descriptors. It checks the ready set again only after the selector has seen the flag and is
//! about to sleep.

use crate::error::{Error, Result};
use crate::heap::registration::ReadySet;
use crate::os::clock::Deadline;
use crate::os::ready::EventFd;
use crate::os::signal::without_signals;
use crate::wait::sleeper::Sleeper;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What the thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listening,
    /// It has raised the flag, and waits until the selector has seen it.
    Raised,
    Over,
}

#[derive(Debug)]
struct BridgeState {
    ready_set: ReadySet,
    flag: EventFd,
    state: Mutex<State>,
    seen: Condvar,
}

/// The thread and its flag.
#[derive(Debug)]
pub(super) struct Bridge {
    shared: Arc<BridgeState>,
    thread: Option<JoinHandle<()>>,
}

impl BridgeState {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) {
        let mut sleeper = Sleeper::new();
        loop {
            let epoch = self.ready_set.event_count().prepare_wait();
            let mut state = self.state();
            match *state {
                State::Over => return,
                State::Raised => {
                    // A new sleeper: meanwhile another thread may check for deaths.
                    sleeper = Sleeper::new();
                    drop(self.seen.wait(state));
                }
                State::Listening if self.ready_set.is_rung() => {
                    *state = State::Raised;
                    self.flag.raise();
                }
                State::Listening => {
                    drop(state);
                    self.ready_set
                        .event_count()
                        .sleep(epoch, Deadline::Never, &mut sleeper);
                }
            }
        }
    }
}

impl Bridge {
    pub(super) fn start(ready_set: &ReadySet) -> Result<Self> {
        let shared = Arc::new(BridgeState {
            ready_set: ready_set.clone(),
            flag: EventFd::new()?,
            state: Mutex::new(State::Listening),
            seen: Condvar::new(),
        });
        let theirs = shared.clone();
        let name = "procession-wait".to_owned();
        let builder = std::thread::Builder::new().name(name);
        let thread = without_signals(|| builder.spawn(move || theirs.listen())).map_err(Error::from)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Returns the descriptor that is readable once a member was marked in the ready set.
    pub(super) fn flag(&self) -> BorrowedFd<'_> {
        self.shared.flag.as_fd()
    }

    /// Lets the thread raise the flag for all that is marked in the ready set, now or later.
    pub(super) fn listen(&self) {
        let mut state = self.shared.state();
        if *state == State::Raised {
            self.shared.flag.lower();
            *state = State::Listening;
            self.shared.seen.notify_one();
        }
    }

    /// Leaves the bridge as it is. This is for a forked child, whose copy has no thread, and whose mutex may be
    /// locked for ever.
    pub(super) fn abandon(self) {
        core::mem::forget(self);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        *self.shared.state() = State::Over;
        self.shared.seen.notify_one();
        self.shared.ready_set.event_count().wake_unconditionally();
        if let Some(thread) = self.thread.take() {
            // The thread ends at once, and cannot panic.
            let _ = thread.join();
        }
    }
}
