//! For tests: death by SIGKILL, a stop by SIGSTOP, or anything else at the n-th change of shared memory, or before the n-th look
//! at it.

use rustix::process::{Signal, getpid, kill_process};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

static LEFT: AtomicU64 = AtomicU64::new(0);
/// It is to be stopped, not killed.
static STOP: AtomicBool = AtomicBool::new(false);
/// A process that passes: only those that it forks are meant. 0: nobody passes.
static SPARED: AtomicI32 = AtomicI32::new(0);

/// From here on this process dies at its `step`-th crash point (counted from 1); 0 never.
pub(crate) fn arm(step: u64) {
    begin(step, false, 0);
}

/// The same, but it stops there, and goes on when it gets SIGCONT.
pub(crate) fn stop_at(step: u64) {
    begin(step, true, 0);
}

/// The same for a child that this process forks next, from its first instruction on.
pub(crate) fn stop_child_at(step: u64) {
    begin(step, true, getpid().as_raw_nonzero().get());
}

fn begin(step: u64, stop: bool, spared: i32) {
    STOP.store(stop, Ordering::Relaxed);
    SPARED.store(spared, Ordering::Relaxed);
    LEFT.store(step, Ordering::Relaxed);
}

pub(crate) fn crash_point() {
    let left = LEFT.load(Ordering::Relaxed);
    if left > 0 && getpid().as_raw_nonzero().get() != SPARED.load(Ordering::Relaxed) {
        LEFT.store(left - 1, Ordering::Relaxed);
        if left == 1 {
            let stop = STOP.load(Ordering::Relaxed);
            let _ = kill_process(getpid(), if stop { Signal::STOP } else { Signal::KILL });
        }
    }
    passed(&CHANGES, &AT_CHANGE);
}

pub(super) fn look_point() {
    passed(&LOOKS, &AT_LOOK);
}

/// What a thread does once, at a moment of its own.
type Plan = Option<(u64, Box<dyn FnOnce()>)>;
type Plans = std::thread::LocalKey<RefCell<Plan>>;

thread_local! {
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static LOOKS: Cell<u64> = const { Cell::new(0) };
    static AT_CHANGE: RefCell<Plan> = const { RefCell::new(None) };
    static AT_LOOK: RefCell<Plan> = const { RefCell::new(None) };
}

/// How often this thread has changed shared memory.
pub(crate) fn changes() -> u64 {
    CHANGES.get()
}

/// How often this thread has looked at shared memory.
pub(crate) fn looks() -> u64 {
    LOOKS.get()
}

/// Has this thread do something right before its `step`-th change from here on (counted from 1).
pub(crate) fn at_change(step: u64, what: impl FnOnce() + 'static) {
    AT_CHANGE.set(Some((changes() + step, Box::new(what))));
}

/// The same before its `step`-th look.
pub(crate) fn at_look(step: u64, what: impl FnOnce() + 'static) {
    AT_LOOK.set(Some((looks() + step, Box::new(what))));
}

/// Forgets what was planned; whether it was still to come.
pub(crate) fn forget_plans() -> bool {
    AT_CHANGE.take().is_some() | AT_LOOK.take().is_some()
}

fn passed(count: &'static std::thread::LocalKey<Cell<u64>>, plans: &'static Plans) {
    count.set(count.get() + 1);
    // At the end of a thread its plans are gone, and shared memory is looked at still.
    let due = plans.try_with(|plan| {
        let mut plan = plan.try_borrow_mut().ok()?;
        let is_due = plan.as_ref().is_some_and(|(when, _)| *when <= count.get());
        if is_due { plan.take() } else { None }
    });
    if let Ok(Some((_, what))) = due {
        what();
    }
}
