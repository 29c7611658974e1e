//! The order in which the engine's own locks are taken.
//!
//! A thread that holds one of these locks takes only locks that stand after it in the list:
//!
//! 1. the lock of clearing up after dead processes (`sweep`);
//! 2. the locks of objects: of a ring's ends, of a semaphore;
//! 3. the lock of making a slab (`grow`);
//! 4. the guard that keeps this process from forking (`steady`), and under it the table of slots that handles share;
//! 5. the lock of transactions.
//!
//! So:
//!
//! * Memory is made under none of these locks, because getting memory may mean clearing up after dead processes.
//! * Memory is given back under at most the first three.
//! * The guard against forks is held around a transaction that changes the references of this process and the making
//!   of the handle that belongs to it, and around nothing that takes longer.
//!
//! Debug builds check all this.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// The place of a lock in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Sweep,
    Object,
    Grow,
    Steady,
    Transaction,
}

#[cfg(debug_assertions)]
thread_local! {
    /// A bit for each rank that this thread holds a lock of.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

impl Rank {
    /// Records that this thread takes a lock of this rank.
    ///
    /// # Panics
    ///
    /// In debug builds, if the thread holds a lock of this rank or of a later one.
    #[inline]
    pub(in crate::heap) fn enter(self) {
        #[cfg(debug_assertions)]
        {
            let held = HELD.get();
            assert!(
                held >> self as u32 == 0,
                "a lock of rank {self:?} is taken under locks that do not come before it ({held:05b})"
            );
            HELD.set(held | 1 << self as u32);
        }
    }

    /// Records that this thread releases its lock of this rank.
    #[inline]
    pub(crate) fn leave(self) {
        #[cfg(debug_assertions)]
        HELD.set(HELD.get() & !(1 << self as u32));
    }

    /// Checks, in debug builds, that this thread holds no lock of this rank or of a later one.
    #[inline]
    pub(in crate::heap) fn is_not_reached(self) {
        #[cfg(debug_assertions)]
        assert!(
            HELD.get() >> self as u32 == 0,
            "something is done under locks of rank {self:?} or below that takes too long ({:05b})",
            HELD.get()
        );
    }
}
