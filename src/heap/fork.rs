//! Forking: a child of fork(2) is a process of its own from its first instruction on, whoever called fork.
//!
//! `pthread_atfork(3)` tells us, from before there is a heap, and no process forks while it makes one. Before the fork, an
//! unborn entry is made that holds everything this process holds, slot for slot; no thread can change what is held until the
//! fork is over, so the handles the child inherits and its hold table agree. In the child, the entry becomes its own. A fork
//! that was followed by exec leaves an entry that is cleared up when that program ends, like any other.

use super::Heap;
use super::layout::{entry, state};
use super::object::{refer, uncount};
use super::table::index_of;
use super::waiter::WAITER;
use crate::error::Result;
use crate::os;
use crate::wait::atomic::Ordering;
use core::mem::ManuallyDrop;
use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicBool;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Readers change what this process holds; the writer forks.
static STEADY: RwLock<()> = RwLock::new(());

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Without a destructor, because it is looked at when the program ends and thread-local values are gone.
    static FORKING: RefCell<ManuallyDrop<Option<RwLockWriteGuard<'static, ()>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
    /// Whether the first of the three functions below was called, and neither of the others yet.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
    /// The entry of the child that is being forked, 0 for none.
    static UNBORN: Cell<u32> = const { Cell::new(0) };
    /// The entry of the child that was forked last, 0 for none.
    static FORKED: Cell<u32> = const { Cell::new(0) };
    /// Asks for the child to be somebody's in particular: see [`adopt_as`].
    static PLANNED: Cell<u32> = const { Cell::new(0) };
}

/// While one exists, this process does not fork. May be nested.
pub(crate) struct Steady(#[allow(dead_code)] Option<RwLockReadGuard<'static, ()>>);

/// Keeps this process from forking while what it holds changes.
pub(crate) fn steady() -> Steady {
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    // A thread that forks (and runs handlers of others before and after) has the lock already.
    let guard = (depth == 0 && !forking()).then(|| STEADY.read().unwrap_or_else(PoisonError::into_inner));
    Steady(guard)
}

impl Drop for Steady {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Called in every forked child, once it is a process of its own.
static ON_CHILD: OnceLock<fn()> = OnceLock::new();

/// Has `function` called in forked children.
pub(crate) fn on_child(function: fn()) {
    let _ = ON_CHILD.set(function);
}

/// Whether this thread is between the start of a fork and its end.
pub(super) fn forking() -> bool {
    FORKING.with_borrow(|guard| guard.is_some())
}

/// The next fork of this thread makes the process of this entry, which its parent has prepared.
pub(crate) fn adopt_as(id: u32) {
    PLANNED.set(id);
}

/// Has the C library call us around every fork of this process.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    os::fork::call_around(
        &WATCHED,
        Some(before),
        Some(after_in_parent),
        Some(after_in_child),
    );
}

extern "C" fn before() {
    if BEGUN.replace(true) {
        return;
    }
    if DEPTH.get() == 0 {
        let guard = STEADY.write().unwrap_or_else(PoisonError::into_inner);
        FORKING.with_borrow_mut(|f| **f = Some(guard));
    }
    let Some(heap) = Heap::existing() else { return };
    let planned = PLANNED.replace(0);
    UNBORN.set(heap.conceive(planned).unwrap_or(0));
}

extern "C" fn after_in_parent() {
    if !BEGUN.replace(false) {
        return;
    }
    FORKING.with_borrow_mut(|f| drop(f.take()));
    FORKED.set(UNBORN.replace(0));
}

/// The owner id of the child that this thread has forked last; 0 if it has none.
pub(crate) fn last_child() -> u32 {
    FORKED.get()
}

extern "C" fn after_in_child() {
    if !BEGUN.replace(false) {
        return;
    }
    os::pid::forget_thread();
    if let Some(heap) = Heap::existing() {
        heap.be_born(UNBORN.replace(0));
    }
    FORKING.with_borrow_mut(|f| drop(f.take()));
    if let Some(function) = ON_CHILD.get() {
        function();
    }
}

impl Heap {
    /// An unborn entry that holds what this process holds: `planned`, or a new one where that is 0.
    fn conceive(&self, planned: u32) -> Result<u32> {
        let id = if planned == 0 {
            self.new_entry_quickly(self.me(), 0, "fork")?
        } else {
            planned
        };
        let copied = self.copy_holds(index_of(id));
        if copied.is_err() && planned == 0 {
            self.drop_entry(id)?;
        }
        copied.map(|()| id)
    }

    /// Gives the (empty) entry `to` a hold on everything this process holds, under the same numbers.
    fn copy_holds(&self, to: u64) -> Result<()> {
        let from = self.my_entry();
        let top = self.word(entry!(from, hold_top)).load(Ordering::Acquire);
        for number in 0..top {
            loop {
                let done = self.transact(|tx| {
                    let Some(theirs) = Self::slot(tx, to, number) else {
                        return Ok(false);
                    };
                    let Some(ours) = Self::slot(tx, from, number) else {
                        return Ok(true);
                    };
                    let off = ours.held(tx);
                    // What another thread is making or giving back has no count yet, and no handle in the child; nor have
                    // the records of this process's threads, which do not exist there.
                    if off == 0 || self.is_raw(tx, off) || uncount(tx.get(off)).0 == WAITER {
                        theirs.skip(tx);
                    } else {
                        refer(tx, off);
                        theirs.fill(tx, off);
                    }
                    Ok(true)
                })?;
                if done {
                    break;
                }
                self.add_page(to, number)?;
            }
        }
        Ok(())
    }

    /// In a forked child: takes its entry over.
    fn be_born(&self, id: u32) {
        // Without an entry (there was no memory for one) the process has no identity, and its handles say so.
        self.set_me(id);
        if id == 0 {
            return;
        }
        let index = index_of(id);
        let (pid, started) = (os::pid::own(), os::pid::start_time(os::pid::own()).unwrap_or(0));
        let entry = self.entry(index);
        entry.pid.store(u64::from(pid), Ordering::Relaxed);
        entry.started.store(started, Ordering::Relaxed);
        entry.state.store(state::LIVE, Ordering::Release);
    }
}
