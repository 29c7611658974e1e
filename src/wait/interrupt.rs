//! Ending waits early, when a signal handler asks for it.

use super::BACKSTOP;
use super::lookout::LONG;
use std::sync::OnceLock;

static HOOK: OnceLock<Hook> = OnceLock::new();

struct Hook {
    ask: fn() -> bool,
    /// Whether it is asked once a second besides.
    often: bool,
}

/// Has `hook` asked whenever a wait of this process (for a message, room, a lock, a permit) wakes and must go on
/// waiting: after a signal handler ran, and at least once a second. Where it answers true, the wait ends with
/// [`Error::Interrupted`](crate::Error::Interrupted) and nothing is changed. Without a hook, waits go on after signals.
///
/// That once a second costs each thread that waits a wake-up a second, for as long as it waits; without a hook, one thread of
/// the program wakes for all.
///
/// It is asked on the waiting thread, which holds nothing of this crate meanwhile. It may fork, but must not return in the
/// forked child, which would go on waiting in its parent's name. Only the first hook counts; whether
/// this was the first is the answer.
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

/// The same for a hook that has nothing to say but after a signal handler ran that does interrupt system calls (that was
/// installed without `SA_RESTART`): it is asked then, and a few times more, and no thread wakes for its sake.
pub(crate) fn on_signal(hook: fn() -> bool) -> bool {
    let often = false;
    HOOK.set(Hook { ask: hook, often }).is_ok()
}

/// Whether every wait of this process is to wake once a second to ask the hook.
pub(crate) fn is_asked_often() -> bool {
    HOOK.get().is_some_and(|hook| hook.often)
}

/// The longest sleep of a thread that only the system wakes (for a descriptor, say), in nanoseconds: deaths are nothing to it.
pub(crate) fn longest_sleep() -> u64 {
    if is_asked_often() { BACKSTOP } else { LONG }
}

/// Whether a wait that woke for nothing is to end.
#[inline]
pub(crate) fn interrupted() -> bool {
    HOOK.get().is_some_and(|hook| (hook.ask)())
}
