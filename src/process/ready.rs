//! Whether this program called `init`, so that a copy of it will know that it is a child.

use std::sync::Once;

static READY: Once = Once::new();

/// Runs `work` unless that was done before. From then on [`is_ready`].
pub(super) fn prepare_once(work: fn()) {
    if READY.is_completed() {
        return;
    }
    // Who forks does so before all this or after it.
    crate::heap::fork::install_handlers();
    let _steady = crate::heap::fork::steady();
    READY.call_once(work);
}

/// Whether `init` ran, so that a copy of this program will know that it is a child.
pub(super) fn is_ready() -> bool {
    READY.is_completed()
}
