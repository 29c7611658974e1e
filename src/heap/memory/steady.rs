//! The guard that keeps this process from forking while its references change.

use super::rank::Rank;
use core::mem::ManuallyDrop;
use std::cell::{Cell, RefCell};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Readers change the references of this process; the writer forks.
static STEADY: RwLock<()> = RwLock::new(());

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Without a destructor, because it is still read at the end of the program, when thread-local values are gone.
    static FORKING: RefCell<ManuallyDrop<Option<RwLockWriteGuard<'static, ()>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
    /// Whether this thread is making room for a child.
    static MAKES_CHILD: Cell<bool> = const { Cell::new(false) };
}

/// The guard: while one exists, this process does not fork. Guards may be nested.
pub(crate) struct Steady(#[allow(dead_code)] Option<RwLockReadGuard<'static, ()>>);

/// Keeps this process from forking while its references change.
pub(crate) fn steady() -> Steady {
    let depth = DEPTH.get();
    if depth == 0 {
        Rank::Steady.enter();
    }
    DEPTH.set(depth + 1);
    // A thread that forks (and runs other fork handlers before and after) holds the lock already.
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

/// Returns whether this thread is between the start of a fork and its end.
pub(in crate::heap) fn forking() -> bool {
    FORKING.with_borrow(|guard| guard.is_some())
}

/// Returns whether this thread makes room for a child, and may use the memory that is reserved for that.
pub(in crate::heap) fn makes_child() -> bool {
    MAKES_CHILD.get()
}

/// Records whether this thread makes room for a child from here on.
pub(in crate::heap) fn set_makes_child(makes: bool) {
    MAKES_CHILD.set(makes);
}

/// Returns whether this thread holds the guard.
pub(in crate::heap) fn is_steady() -> bool {
    DEPTH.get() > 0
}

/// Keeps every other thread from changing the references of this process, until [`move_on`].
pub(in crate::heap) fn hold_still(outermost: bool) {
    if outermost {
        let guard = STEADY.write().unwrap_or_else(PoisonError::into_inner);
        FORKING.with_borrow_mut(|f| **f = Some(guard));
    }
}

/// Lets the other threads go on.
pub(in crate::heap) fn move_on() {
    FORKING.with_borrow_mut(|f| drop(f.take()));
}
