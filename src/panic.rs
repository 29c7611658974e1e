//! What a function panicked with that runs on somebody's behalf, in a process or in a thread.

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
    /// Whether this thread runs such a function.
    static NOTING: Cell<bool> = const { Cell::new(false) };
    /// Where it panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the places of panics noted from now on; the hook that was there goes on being called.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    // A thread that panics may not change the hook: it leaves that to another.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    // A child would find the hook half changed, and its lock held.
    let _steady = steady();
    INSTALLED.call_once(install);
}

fn install() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if NOTING.get() {
            PLACE.with_borrow_mut(|place| *place = info.location().map(ToString::to_string));
        }
        usual(info);
    }));
}

/// Runs `function`; what it panicked with if it did.
pub(crate) fn catch<T>(function: impl FnOnce() -> T) -> Result<T, Panic> {
    let before = NOTING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(function));
    NOTING.set(before);
    outcome.map_err(|payload| Panic {
        message: text(&*payload).unwrap_or("a panic without a text").to_owned(),
        location: PLACE.take().unwrap_or_else(|| "an unknown place".to_owned()),
    })
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
