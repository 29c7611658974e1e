//! Ending waits early, when a signal handler asks for it.

use super::BACKSTOP;
use super::lookout::LONG;
use std::sync::OnceLock;

static HOOK: OnceLock<Hook> = OnceLock::new();

struct Hook {
    ask: fn() -> bool,
    /// The hook is also called once a second.
    often: bool,
}

/// Sets a hook that can end the waits of this process. It is called whenever a wait (for a message, room, a lock, a
/// permit) wakes and would go on waiting: after a signal handler ran, and at least once a second. If it returns true,
/// the wait ends with [`Error::Interrupted`](crate::Error::Interrupted) and nothing is changed. Without a hook, waits
/// go on after signals.
///
/// The call once a second costs each waiting thread a wake-up a second. Without a hook, one thread of the program
/// wakes for all.
///
/// The hook runs on the waiting thread, which holds no lock of this crate meanwhile. It may fork, but must not return
/// in the forked child, which would go on waiting in its parent's name. Only the first hook is used. Returns whether
/// this was the first.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// static STOP: AtomicBool = AtomicBool::new(false); // a signal handler sets it
/// assert!(procession::on_interrupt(|| STOP.load(Ordering::Relaxed)));
/// ```
pub fn on_interrupt(hook: fn() -> bool) -> bool {
    let often = true;
    HOOK.set(Hook { ask: hook, often }).is_ok()
}

/// Sets a hook like [`on_interrupt`], for a hook that only matters after a signal handler that interrupts system
/// calls (installed without `SA_RESTART`). It is called then, and a few times more, and no thread wakes for it.
pub(crate) fn on_signal(hook: fn() -> bool) -> bool {
    let often = false;
    HOOK.set(Hook { ask: hook, often }).is_ok()
}

/// Returns whether every wait of this process must wake once a second to call the hook.
pub(crate) fn is_asked_often() -> bool {
    HOOK.get().is_some_and(|hook| hook.often)
}

/// Returns the longest sleep, in nanoseconds, of a thread that only the system wakes (for a descriptor, say). Such a
/// thread does not depend on deaths.
pub(crate) fn longest_sleep() -> u64 {
    if is_asked_often() { BACKSTOP } else { LONG }
}

/// Calls the hook. Returns whether a wait that woke without a result is to end.
#[inline]
pub(crate) fn interrupted() -> bool {
    HOOK.get().is_some_and(|hook| (hook.ask)())
}
