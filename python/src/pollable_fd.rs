//! A descriptor that polls readable while a queue has messages, for `multiprocessing.connection.wait` and `select`.
//!
//! It is an event counter of this process, set by a thread that waits at the queue; both exist only once somebody has
//! asked for the descriptor. The thread sets it and stops looking; whoever then finds the queue empty clears it and has the
//! thread look again. So it may be set a moment too long, but never clear while there is a message and somebody polls.

use procession::Error;
use procession::bindings::{self, Deadline, EventFd, RawQueue};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often the thread looks whether anybody still wants it.
const SLICE: Duration = Duration::from_secs(1);

/// What the thread is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Looking,
    Set,
    Over,
}

struct PollerState {
    event: EventFd,
    state: Mutex<State>,
    changed: Condvar,
}

impl PollerState {
    fn change(&self, to: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }
}

/// The descriptor and its thread.
pub struct PollableFd {
    /// The process whose thread it is: a forked child has none.
    process: u32,
    shared: Arc<PollerState>,
}

impl PollableFd {
    /// Begins to watch.
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
                .name("procession-watch".into())
                .spawn(move || serve(&theirs, &queue))
        })?;
        Ok(Self {
            process: bindings::own_number(),
            shared,
        })
    }

    /// Whether its thread is in this process.
    pub fn is_ours(&self) -> bool {
        self.process == bindings::own_number()
    }

    pub fn fd(&self) -> RawFd {
        self.shared.event.as_fd().as_raw_fd()
    }

    /// To be called when something was taken, or nothing was found.
    pub fn refresh(&self, queue: &RawQueue) {
        // A forked child's copy may be locked for ever.
        if !self.is_ours() || !bindings::awake(|| queue.is_empty()).0 || queue.is_shut_down() {
            return;
        }
        let state = *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state == State::Set {
            // In this order: what is put between the two is found by the thread.
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
