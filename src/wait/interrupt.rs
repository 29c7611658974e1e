//! Ending waits early, when a signal handler asks for it.

use std::sync::OnceLock;

static HOOK: OnceLock<fn() -> bool> = OnceLock::new();

/// Has `hook` asked whenever a wait of this process (for a message, room, a lock, a permit) wakes and must go on
/// waiting: after a signal handler ran, and at least once a second. Where it answers true, the wait ends with
/// [`Error::Interrupted`](crate::Error::Interrupted) and nothing is changed. Without a hook, waits go on after signals.
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
    HOOK.set(hook).is_ok()
}

/// Whether a wait that woke for nothing is to end.
#[inline]
pub(crate) fn interrupted() -> bool {
    HOOK.get().is_some_and(|hook| hook())
}
