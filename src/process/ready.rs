//! Whether this program called `init`, so that a copy of it knows that it is a child.

use std::sync::Once;

static READY: Once = Once::new();

/// Runs `work` unless that was done before. From then on, [`is_ready`] is true.
pub(super) fn prepare_once(work: fn()) {
    if READY.is_completed() {
        return;
    }
    // No other thread forks in the middle of this.
    crate::heap::fork::install_handlers();
    let _steady = crate::heap::fork::steady();
    READY.call_once(work);
}

/// Returns whether `init` ran.
pub(super) fn is_ready() -> bool {
    READY.is_completed()
}
