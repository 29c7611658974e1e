//! The limits of a thread's waits for the engine's own locks: a deadline, interrupts, and whether it may sleep at all.

use crate::error::{Error, Result};
use crate::os::clock::Deadline;
use std::cell::Cell;

/// The limit of a wait for one of the engine's own locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The deadline of the call that the wait is part of.
    pub deadline: Deadline,
    /// Whether the hook for interrupts may run during the wait and end it: not while another lock is held.
    pub interruptible: bool,
}

impl Limit {
    /// A wait that is not part of a call with a deadline.
    pub(crate) const NONE: Self = Self {
        deadline: Deadline::Never,
        interruptible: false,
    };
}

thread_local! {
    pub(super) static CURRENT: Cell<Limit> = const { Cell::new(Limit::NONE) };
    /// The mode of this thread: the bits below.
    static MODE: Cell<u8> = const { Cell::new(0) };
}

/// The thread must not sleep on a lock; it gets [`Error::Busy`] instead.
const AWAKE: u8 = 1;
/// The thread has something to tell that it could not tell without sleeping.
const OWES_NEWS: u8 = 2;

/// Runs `work` under `limit`, which holds for all its waits for internal locks.
#[inline]
pub(crate) fn within<T>(limit: Limit, work: impl FnOnce() -> T) -> T {
    struct Restore(Limit);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(limit));
    work()
}

/// Runs `work` under the present limit, with another deadline.
#[inline]
pub(crate) fn until<T>(deadline: Deadline, work: impl FnOnce() -> T) -> T {
    let limit = Limit {
        deadline,
        ..CURRENT.get()
    };
    within(limit, work)
}

/// Runs `work` without sleeping on a lock of another thread or process: it ends with [`Error::Busy`] instead.
/// Returns its answer, and whether something is [left to be told](owe_news).
#[inline]
pub(crate) fn awake<T>(work: impl FnOnce() -> T) -> (T, bool) {
    struct Restore<'m>(&'m Cell<u8>, u8);
    impl Drop for Restore<'_> {
        #[inline]
        fn drop(&mut self) {
            self.0.set(self.0.get() & !AWAKE | self.1);
        }
    }
    // Looked up once: in a library that was loaded late the look-up is a call.
    MODE.with(|mode| {
        let _restore = Restore(mode, mode.get() & AWAKE);
        mode.set(mode.get() | AWAKE);
        let answer = work();
        (answer, mode.get() & OWES_NEWS != 0)
    })
}

/// Returns whether this thread may sleep on a lock of another thread or process.
pub(in crate::heap) fn may_sleep() -> bool {
    MODE.get() & AWAKE == 0
}

/// Records that this thread has something to tell when it may sleep: see
/// [`registration`](crate::heap::notify::registration).
pub(in crate::heap) fn owe_news(owes: bool) {
    let others = MODE.get() & !OWES_NEWS;
    MODE.set(others | if owes { OWES_NEWS } else { 0 });
}

/// Repeats `work` while a process is stopped in the middle of a change: for calls that have no error to return.
pub(crate) fn insist<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match work() {
            Err(Error::OwnerStopped { .. }) => {}
            answer => return answer,
        }
    }
}
