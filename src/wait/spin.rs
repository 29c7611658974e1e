//! Spinning: a wait that ends within a few microseconds should never go to sleep. README.md in this folder explains
//! it.

use super::atomic::{AtomicU64 as SharedU64, Ordering};
use crate::os;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// The number of rounds of the longest spin, some 20 µs. A round is a check and up to 16 pause instructions.
const MAX: u32 = 64;
/// The number of rounds of the shortest spin. So few are worth trying in every wait, even where spinning never helps.
const MIN: u32 = 10;
/// One in this many waits spins before a sleep in the kernel although that has not helped of late.
const SELDOM: u32 = 8;
/// The number of checks with a yield after each spin.
const YIELDS: u32 = 4;

/// After this many waits in a row that end after a yield, the thread assumes that its partner runs on the same
/// processor.
const NEIGHBOURS: u32 = 4;
/// After this many such waits, one of the two should move to another processor.
const PART_MIN: u32 = 8;
/// The largest such number, where moving has not helped: some milliseconds.
const PART_MAX: u32 = 512;
/// The value of `TURNS` that says: this thread or its neighbour has moved, and this thread is to find out whether
/// that helped.
const PARTED: u32 = u32::MAX;
/// One thread of the program may leave its processor in this many nanoseconds, so that neighbours do not follow each
/// other.
const PART_PAUSE: u64 = 1_000_000;
/// Moves take at most one of this many parts of the program's time.
const PART_SHARE: u64 = 64;

/// The largest number of rounds before a sleep in the kernel. There each check is a system call, so the rounds take
/// some 60 µs: longer than waking from such a sleep takes.
const LONG: u32 = 96;

thread_local! {
    /// The budget of rounds before a sleep in the kernel.
    static KERNEL: Cell<u32> = const { Cell::new(LONG) };
    /// How many waits in a row ended after this thread had yielded; or [`PARTED`].
    static TURNS: Cell<u32> = const { Cell::new(0) };
    /// At how many of them the thread parts from its neighbour.
    static PART: Cell<u32> = const { Cell::new(PART_MIN) };
    /// The number of waits that did not end before sleeping.
    static FAILED: Cell<u32> = const { Cell::new(0) };
    /// The budget of rounds, from the last waits of this thread.
    static BUDGET: Cell<u32> = const { Cell::new(MAX) };
    /// The waits of this thread since it last spun before a sleep in the kernel.
    static PASSED: Cell<u32> = const { Cell::new(0) };
}

/// Checks `done` again and again for a few microseconds. Returns whether it became true.
///
/// The budget follows success: it grows where waits end while spinning and shrinks where they do not. Where no other
/// thread can make progress meanwhile, the thread does not spin but yields, as it always does after spinning.
pub(crate) fn until(mut done: impl FnMut() -> bool) -> bool {
    // In a model, spinning adds nothing.
    if cfg!(loom) {
        return done();
    }
    // A partner that answered during the last yields runs on this thread's processor: spinning would keep it from
    // answering.
    let mut turns = TURNS.get();
    let mut neighbours = (NEIGHBOURS..PARTED).contains(&turns);
    if neighbours && turns >= PART.get() && !is_alone() {
        if !part() {
            // A sleeper is woken on an idle processor, where the kernel finds one.
            return false;
        }
        (turns, neighbours) = (PARTED, false);
    }
    if !neighbours && !is_alone() {
        let budget = BUDGET.get();
        for round in 0..budget {
            if done() {
                BUDGET.set((budget + budget / 4 + 4).min(MAX));
                if turns > 0 {
                    TURNS.set(0);
                }
                if turns == PARTED {
                    PART.set(PART_MIN);
                }
                return true;
            }
            pause(round);
        }
        BUDGET.set((budget - budget / 4).max(MIN));
    } else if done() {
        return true;
    }
    for _ in 0..YIELDS {
        std::thread::yield_now();
        if done() {
            TURNS.set(if turns == PARTED { 1 } else { turns + 1 });
            return true;
        }
    }
    TURNS.set(0);
    let failed = FAILED.get().wrapping_add(1);
    FAILED.set(failed);
    if failed.is_multiple_of(ASK_AGAIN) {
        learn();
    }
    false
}

/// Checks `done` again and again before a sleep in the kernel. Returns whether it became true.
///
/// Waking from such a sleep takes longer than [`until`] ever spins. If two threads wait for each other and spin for
/// less than that, each always finds that the other sleeps, and so both would sleep in every wait. So this spins for
/// longer than a wake-up takes as long as that helps, and where it has not helped, in one of [`SELDOM`] waits. It
/// does not yield, which is expensive among busy processes.
pub(crate) fn before_sleep(mut done: impl FnMut() -> bool) -> bool {
    let budget = KERNEL.get();
    let seldom = budget <= MIN && !PASSED.get().is_multiple_of(SELDOM);
    if cfg!(loom) || is_alone() || seldom {
        PASSED.set(PASSED.get().wrapping_add(1));
        return done();
    }
    PASSED.set(1);
    for round in 0..if budget <= MIN { LONG } else { budget } {
        if done() {
            KERNEL.set(LONG);
            return true;
        }
        pause(round);
    }
    KERNEL.set((budget / 2).max(MIN));
    false
}

/// Leaves the memory alone for a moment; longer after more rounds.
fn pause(round: u32) {
    for _ in 0..(round + 1).min(16) {
        core::hint::spin_loop();
    }
}

/// Moves this thread to another processor than its neighbour's, unless another thread of the program (it may be the
/// neighbour) has just moved. Returns false if it cannot move.
#[cold]
fn part() -> bool {
    PART.set((PART.get() * 2).min(PART_MAX));
    TURNS.set(PARTED);
    let Some(Shared { parted, .. }) = PROGRAM.get() else {
        return false;
    };
    let (now, next) = (os::clock::now(), parted.load(Ordering::Relaxed));
    let is_due = now >= next
        && parted
            .compare_exchange(next, now + PART_PAUSE, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if !is_due {
        return true;
    }
    let moved = os::processor::leave();
    // Where the other processor is busy, a move takes as long as it takes to get a turn there.
    let end = os::clock::now();
    let cost = end.saturating_sub(now);
    parted.store(end + PART_PAUSE.max(cost * PART_SHARE), Ordering::Relaxed);
    moved
}

/// Words of shared memory that all processes of the program have in common.
struct Shared {
    /// The processors that the program's processes may run on.
    processors: &'static SharedU64,
    /// When a thread of the program may leave its processor the next time.
    parted: &'static SharedU64,
}

static PROGRAM: OnceLock<Shared> = OnceLock::new();

/// The one processor that this process may run on, as a bit; [`SEVERAL`]; or 0 while that is unknown. A thread that
/// finds 0 asks the system itself. It does not wait for another one that is asking, because that one does not exist
/// in a forked child.
static ALLOWED: AtomicU64 = AtomicU64::new(0);
const SEVERAL: u64 = u64::MAX;

/// After this many waits that did not end while spinning, the system is asked again where this process may run.
const ASK_AGAIN: u32 = 256;

/// Sets the shared words: in `processors` each process says where it may run, and in `parted` when one of its threads
/// left its processor.
pub(crate) fn install(processors: &'static SharedU64, parted: &'static SharedU64) {
    PROGRAM.get_or_init(|| Shared { processors, parted });
    learn();
}

/// Returns whether no other process of the program can run while this thread does. Then spinning is useless.
fn is_alone() -> bool {
    let own = match ALLOWED.load(Ordering::Relaxed) {
        0 => learn(),
        known => known,
    };
    own != SEVERAL
        && PROGRAM
            .get()
            .is_none_or(|program| program.processors.load(Ordering::Relaxed) & !own == 0)
}

/// Asks the system where this process may run, and publishes it.
#[cold]
fn learn() -> u64 {
    let mask = os::processor::allowed();
    if let Some(Shared { processors, .. }) = PROGRAM.get()
        && processors.load(Ordering::Relaxed) & mask != mask
    {
        processors.fetch_or(mask, Ordering::Relaxed);
    }
    let own = if mask.is_power_of_two() { mask } else { SEVERAL };
    ALLOWED.store(own, Ordering::Relaxed);
    own
}
