//! The guard that keeps this process from forking while what it holds changes.

use super::rank::Rank;
use core::mem::ManuallyDrop;
use std::cell::{Cell, RefCell};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Readers change what this process holds; the writer forks.
static STEADY: RwLock<()> = RwLock::new(());

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Without a destructor, because it is looked at when the program ends and thread-local values are gone.
    static FORKING: RefCell<ManuallyDrop<Option<RwLockWriteGuard<'static, ()>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
    /// Whether it is making room for the child.
    static MAKES_CHILD: Cell<bool> = const { Cell::new(false) };
}

/// While one exists, this process does not fork. May be nested.
pub(crate) struct Steady(#[allow(dead_code)] Option<RwLockReadGuard<'static, ()>>);

/// Keeps this process from forking while what it holds changes.
pub(crate) fn steady() -> Steady {
    let depth = DEPTH.get();
    if depth == 0 {
        Rank::Steady.enter();
    }
    DEPTH.set(depth + 1);
    // A thread that forks (and runs handlers of others before and after) has the lock already.
    let guard = (depth == 0 && !forking()).then(|| STEADY.read().unwrap_or_else(PoisonError::into_inner));
    Steady(guard)
}

impl Drop for Steady {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            Rank::Steady.leave();
        }
    }
}

/// Whether this thread is between the start of a fork and its end.
pub(in crate::heap) fn forking() -> bool {
    FORKING.with_borrow(|guard| guard.is_some())
}

/// Whether this thread makes room for a child, and may use what is kept for that.
pub(in crate::heap) fn makes_child() -> bool {
    MAKES_CHILD.get()
}

/// Says whether this thread makes room for a child from here on.
pub(in crate::heap) fn set_makes_child(makes: bool) {
    MAKES_CHILD.set(makes);
}

/// Returns whether this thread has the guard.
pub(in crate::heap) fn is_steady() -> bool {
    DEPTH.get() > 0
}

/// Keeps every other thread from changing what this process holds, until [`move_on`].
pub(in crate::heap) fn hold_still(outermost: bool) {
    if outermost {
        let guard = STEADY.write().unwrap_or_else(PoisonError::into_inner);
        FORKING.with_borrow_mut(|f| **f = Some(guard));
    }
}

pub(in crate::heap) fn move_on() {
    FORKING.with_borrow_mut(|f| drop(f.take()));
}
