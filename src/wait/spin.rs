//! Spinning: what ends within a few microseconds should never have gone to sleep.

use super::atomic::{AtomicU64 as SharedU64, Ordering};
use crate::os;
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

/// Rounds of the longest spin, some 20 µs; a round is a look and up to 16 pause instructions.
const MAX: u32 = 64;
/// Rounds of the shortest: one in this many waits is worth a look even where spinning never helps.
const MIN: u32 = 10;
/// One in this many waits is spent looking where that has not helped and sleeping is quick.
const SELDOM: u32 = 8;
/// Looks between giving the processor to somebody else, after spinning proper.
const YIELDS: u32 = 4;

/// So many waits in a row that end in a turn given away are no accident: whoever we wait for runs on the same processor.
const NEIGHBOURS: u32 = 4;
/// After so many, one of the two should go where there is room.
const PART_MIN: u32 = 8;
/// After so many at most, where that has not helped: some milliseconds.
const PART_MAX: u32 = 512;
/// In the place of a number of turns: this thread or its neighbour has left, and this thread shall see whether that has
/// helped.
const PARTED: u32 = u32::MAX;
/// One thread of the program leaves its processor in this many nanoseconds, so that neighbours do not follow each other.
const PART_PAUSE: u64 = 1_000_000;

/// Rounds that outlast waking from a sleep in the kernel, where each is a system call: some 60 µs.
const LONG: u32 = 96;

thread_local! {
    /// Rounds that the last sleeps in the kernel deserved.
    static KERNEL: Cell<u32> = const { Cell::new(LONG) };
    /// How many waits in a row were over when this thread had given its turn away; or [`PARTED`].
    static TURNS: Cell<u32> = const { Cell::new(0) };
    /// At how many of them it parts from its neighbour.
    static PART: Cell<u32> = const { Cell::new(PART_MIN) };
    /// Waits that were not over before sleeping.
    static FAILED: Cell<u32> = const { Cell::new(0) };
    /// How many rounds the last waits of this thread deserved.
    static BUDGET: Cell<u32> = const { Cell::new(MAX) };
    /// The waits of this thread since it last looked before a sleep.
    static PASSED: Cell<u32> = const { Cell::new(0) };
}

/// Looks `done` over and over for a few microseconds; whether it came true.
///
/// The budget follows success: it grows where waits end while spinning and shrinks where they do not. Where nobody else can
/// make progress meanwhile there is no spinning, but the turn is given away, as everywhere.
pub(crate) fn until(mut done: impl FnMut() -> bool) -> bool {
    // To a model checker a spin is only more of the same.
    if cfg!(loom) {
        return done();
    }
    // Who answered in the turns that were given away of late runs where this thread runs: spinning keeps it from that.
    let mut turns = TURNS.get();
    let mut neighbours = (NEIGHBOURS..PARTED).contains(&turns);
    if neighbours && turns >= PART.get() && !is_alone() {
        part();
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

/// The same before a sleep in the kernel, from which it takes longer to wake than [`until`] ever looks: whoever looks for less
/// never meets somebody who slept, and two who wait for each other would both sleep for ever after. So it looks for longer
/// than that takes, as long as it helps, and where it has not helped, in one of some waits. The turn is not given away
/// first, which costs much among busy processes.
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

/// Leaves the memory alone for a moment, after this many looks for longer.
fn pause(round: u32) {
    for _ in 0..(round + 1).min(16) {
        core::hint::spin_loop();
    }
}

/// Parts this thread from its neighbour: it goes to another processor, unless a thread of the program has just done so, which
/// may be the neighbour.
#[cold]
fn part() {
    PART.set((PART.get() * 2).min(PART_MAX));
    TURNS.set(PARTED);
    let Some(Shared { parted, .. }) = PROGRAM.get() else {
        return;
    };
    let (now, last) = (os::clock::now(), parted.load(Ordering::Relaxed));
    if now.saturating_sub(last) >= PART_PAUSE
        && parted
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        os::processor::leave();
    }
}

/// Words of shared memory, the same for every process of the program.
struct Shared {
    /// Which processors the program's processes may run on.
    processors: &'static SharedU64,
    /// When one of its threads last left its processor.
    parted: &'static SharedU64,
}

static PROGRAM: OnceLock<Shared> = OnceLock::new();

/// The one processor that this process may run on, as a bit; [`SEVERAL`]; or 0 while that is not known. Asked more than once
/// rather than waited for: a thread that was about to know does not exist in a forked child, which would wait for it for
/// ever.
static ALLOWED: AtomicU64 = AtomicU64::new(0);
const SEVERAL: u64 = u64::MAX;

/// After so many waits that were not over after spinning, the system is asked again where this process may run.
const ASK_AGAIN: u32 = 256;

/// Has this process say in `processors` where it may run and look there for the others, and say in `parted` when one of
/// its threads leaves its processor.
pub(crate) fn install(processors: &'static SharedU64, parted: &'static SharedU64) {
    PROGRAM.get_or_init(|| Shared { processors, parted });
    learn();
}

/// Whether nobody else of the program can run while this thread does: then it is no use looking.
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
