//! Catching the panic of a function that runs in a process or thread of this crate, with its message and location.

use crate::heap::fork::steady;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// A panic that was caught.
#[derive(Debug)]
pub(crate) struct Panic {
    pub message: String,
    /// File, line and column.
    pub location: String,
}

thread_local! {
    /// True while this thread runs a function in [`catch`].
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// The location of this thread's last panic in such a function.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a hook that records the location of each panic. The hook that was there before is still called.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    // A thread that panics may not change the hook. A later call installs it.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    // No fork meanwhile: the child would inherit the hook half changed, and its lock locked.
    let _steady = steady();
    INSTALLED.call_once(install);
}

/// Puts the recording hook before the one that is set now.
fn install() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if CATCHING.get() {
            LOCATION.with_borrow_mut(|location| *location = info.location().map(ToString::to_string));
        }
        previous(info);
    }));
}

/// Runs `function`, and catches its panic.
pub(crate) fn catch<T>(function: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = CATCHING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(function));
    CATCHING.set(outer);
    outcome.map_err(|payload| Panic {
        message: text(&*payload).unwrap_or("a panic without a message").to_owned(),
        location: LOCATION
            .take()
            .unwrap_or_else(|| "an unknown location".to_owned()),
    })
}

/// Returns the message of a panic, if it is text.
fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
