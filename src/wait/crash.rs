//! Crash points, for tests: the process is killed by SIGKILL, stopped by SIGSTOP, or runs a function, at the n-th
//! change of shared memory or before the n-th read of it.

use rustix::process::{Signal, getpid, kill_process};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

static LEFT: AtomicU64 = AtomicU64::new(0);
/// Stop the process instead of killing it.
static STOP: AtomicBool = AtomicBool::new(false);
/// A process that ignores crash points: only its forked children obey them. 0 means no process.
static SPARED: AtomicI32 = AtomicI32::new(0);

/// Kills this process at its `step`-th crash point from now on (counted from 1). 0 means never.
pub(crate) fn arm(step: u64) {
    begin(step, false, 0);
}

/// Stops this process, like [`arm`], instead of killing it. It continues on SIGCONT.
pub(crate) fn stop_at(step: u64) {
    begin(step, true, 0);
}

/// Runs `work`, in which no crash point counts.
pub(crate) fn spare<T>(work: impl FnOnce() -> T) -> T {
    let left = LEFT.swap(0, Ordering::Relaxed);
    let answer = work();
    LEFT.store(left, Ordering::Relaxed);
    answer
}

/// Stops, like [`stop_at`], the next child that this process forks, counted from the child's first instruction.
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

/// A function that a thread runs once, at its n-th change or read.
type Plan = Option<(u64, Box<dyn FnOnce()>)>;
type Plans = std::thread::LocalKey<RefCell<Plan>>;

thread_local! {
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static LOOKS: Cell<u64> = const { Cell::new(0) };
    static AT_CHANGE: RefCell<Plan> = const { RefCell::new(None) };
    static AT_LOOK: RefCell<Plan> = const { RefCell::new(None) };
}

/// Returns how many times this thread has changed shared memory.
pub(crate) fn changes() -> u64 {
    CHANGES.get()
}

/// Returns how many times this thread has read shared memory.
pub(crate) fn looks() -> u64 {
    LOOKS.get()
}

/// Runs `what` on this thread right before its `step`-th change from now on (counted from 1).
pub(crate) fn at_change(step: u64, what: impl FnOnce() + 'static) {
    AT_CHANGE.set(Some((changes() + step, Box::new(what))));
}

/// Runs `what` on this thread right before its `step`-th read from now on.
pub(crate) fn at_look(step: u64, what: impl FnOnce() + 'static) {
    AT_LOOK.set(Some((looks() + step, Box::new(what))));
}

/// Forgets what was planned. Returns whether something was still to come.
pub(crate) fn forget_plans() -> bool {
    AT_CHANGE.take().is_some() | AT_LOOK.take().is_some()
}

fn passed(count: &'static std::thread::LocalKey<Cell<u64>>, plans: &'static Plans) {
    count.set(count.get() + 1);
    // At the end of a thread its plans are gone, but it still reads shared memory.
    let due = plans.try_with(|plan| {
        let mut plan = plan.try_borrow_mut().ok()?;
        let is_due = plan.as_ref().is_some_and(|(when, _)| *when <= count.get());
        if is_due { plan.take() } else { None }
    });
    if let Ok(Some((_, what))) = due {
        what();
    }
}
