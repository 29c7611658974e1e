//! The list of this process's children.

use super::info::ProcessInfo;
use super::known::Child;
use super::lifeline;
use crate::error::Result;
use crate::os;
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicPtr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The list of children. A forked child of this process starts with a new, empty list. The old one may be locked by a
/// thread that does not exist there, and is left alone.
static CHILDREN: AtomicPtr<Mutex<Vec<Arc<Child>>>> = AtomicPtr::new(core::ptr::null_mut());

#[allow(unsafe_code)]
fn children() -> MutexGuard<'static, Vec<Arc<Child>>> {
    let mut list = CHILDREN.load(Ordering::Acquire);
    if list.is_null() {
        let new = Box::into_raw(Box::default());
        list = match CHILDREN.compare_exchange(list, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: made above and never shared, since the exchange failed.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
    }
    // SAFETY: not null, from `Box::into_raw`, and never freed.
    unsafe { &*list }.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets, in a forked child, the children and the lifeline of its parent.
pub(super) fn reset() {
    CHILDREN.store(core::ptr::null_mut(), Ordering::Release);
    os::signal::forget_all();
    lifeline::close();
}

/// Returns the descriptor of the lifeline for a daemon of this process.
pub(super) fn lifeline() -> Result<BorrowedFd<'static>> {
    // Before the pipe is made, because a forked child must close its copies.
    crate::heap::fork::on_child(reset);
    lifeline::read_end()
}

/// Returns a copy of the lifeline's descriptor for a forked daemon, in which the original is closed.
pub(crate) fn lifeline_copy() -> Result<OwnedFd> {
    crate::heap::fork::on_child(reset);
    lifeline::copy()
}

/// Adds a new child.
pub(super) fn add(child: Arc<Child>) {
    children().push(child);
}

/// Removes a child that has ended.
pub(super) fn remove(id: u32) {
    children().retain(|child| child.id != id);
}

/// Reaps children that have ended and whose handles are gone. Each call checks a few, in turn.
pub(super) fn tidy() {
    static TURN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    for _ in 0..4 {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let some = {
            let list = children();
            if list.is_empty() {
                None
            } else {
                Some(list[turn % list.len()].clone())
            }
        };
        if let Some(child) = some
            && Arc::strong_count(&child) <= 2
            && matches!(child.wait(Deadline::Now), Ok(Some(_)))
        {
            remove(child.id);
        }
    }
}

/// Takes all children off the list, at the end of this process.
pub(super) fn take_all() -> Vec<Arc<Child>> {
    core::mem::take(&mut *children())
}

/// Returns the children of this process that run, and reaps those that have ended.
pub fn active_children() -> Vec<ProcessInfo> {
    let all = children().clone();
    let (dead, alive): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|child| matches!(child.wait(Deadline::Now), Ok(Some(_))));
    for child in &dead {
        remove(child.id);
    }
    alive.iter().map(|child| ProcessInfo::of_child(child)).collect()
}
