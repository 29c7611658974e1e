//! A descriptor that polls readable while a queue has messages, for `multiprocessing.connection.wait` and `select`.
//!
//! The descriptor is an eventfd of this process, and a thread of this process waits at the queue. Both are made when
//! the descriptor is first asked for.
//!
//! 1. When the queue has a message, the thread raises the eventfd, and waits to be told to look again.
//! 2. A thread that then finds the queue empty lowers the eventfd, and tells the thread to look again.
//!
//! So the eventfd may stay raised for a moment too long, but it is never lowered for good while there is a message.

use procession::Error;
use procession::bindings::{self, Deadline, EventFd, RawQueue};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often the thread checks whether its [`PollableFd`] is still there.
const SLICE: Duration = Duration::from_secs(1);

/// What the thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits at the queue.
    Looking,
    /// It has raised the eventfd, and waits to be told to look again.
    Set,
    /// It ends.
    Over,
}

/// What the descriptor and the thread share.
struct PollerState {
    event: EventFd,
    state: Mutex<State>,
    changed: Condvar,
}

impl PollerState {
    /// Sets the state, and tells the thread.
    fn change(&self, to: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }
}

/// The descriptor and its thread.
pub struct PollableFd {
    /// The process that has the thread: a forked child has not.
    process: u32,
    shared: Arc<PollerState>,
}

impl PollableFd {
    /// Makes the descriptor and starts the thread.
    pub fn start(queue: &RawQueue) -> io::Result<Self> {
        let shared = Arc::new(PollerState {
            event: EventFd::new().map_err(|error| match error {
                Error::Os { errno, .. } => io::Error::from_raw_os_error(errno),
                other => io::Error::other(other),
            })?,
            state: Mutex::new(State::Looking),
            changed: Condvar::new(),
        });
        let (theirs, queue) = (shared.clone(), queue.clone());
        // Signals are for Python's main thread.
        bindings::without_signals(|| {
            std::thread::Builder::new()
                .name("procession-poller".into())
                .spawn(move || serve(&theirs, &queue))
        })?;
        Ok(Self {
            process: bindings::own_number(),
            shared,
        })
    }

    /// Returns whether the thread is in this process.
    pub fn is_ours(&self) -> bool {
        self.process == bindings::own_number()
    }

    /// Returns the descriptor.
    pub fn fd(&self) -> RawFd {
        self.shared.event.as_fd().as_raw_fd()
    }

    /// Lowers the eventfd if the queue is empty. To be called when a message was taken, or none was found.
    pub fn refresh(&self, queue: &RawQueue) {
        // In a forked child the mutex may be locked for ever.
        if !self.is_ours() || !bindings::awake(|| queue.is_empty()).0 || queue.is_shut_down() {
            return;
        }
        let state = *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state == State::Set {
            // In this order, so that the thread finds a message that is put between the two.
            self.shared.event.lower();
            self.shared.change(State::Looking);
        }
    }
}

impl Drop for PollableFd {
    fn drop(&mut self) {
        if self.is_ours() {
            self.shared.change(State::Over);
        }
    }
}

/// Runs the thread: see the module's documentation.
fn serve(shared: &PollerState, queue: &RawQueue) {
    loop {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        while *state == State::Set {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if *state == State::Over {
            return;
        }
        drop(state);
        if queue.wait_readable(Deadline::after(SLICE)).unwrap_or(false) {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if *state == State::Looking {
                *state = State::Set;
                shared.event.raise();
            }
        }
    }
}
