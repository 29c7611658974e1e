//! The order in which the engine's own locks are taken.
//!
//! The order, for threads that need several; who holds one takes only what stands below it:
//!
//! 1. the lock of whoever clears up after the dead (`sweep`);
//! 2. the locks of objects: a ring's ends, a semaphore's;
//! 3. the lock of whoever makes a slab (`grow`);
//! 4. the guard that keeps this process from forking (`fork::steady`), and under it the table of what its handles share;
//! 5. the lock of transactions.
//!
//! So memory is made (which may mean clearing up after the dead, to get some) by who holds none of them, and given back by
//! who holds at most the first three; the guard is held around the transactions that change what this process holds and the
//! making of the handle that goes with it, and around nothing that takes longer. Debug builds check all this.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// Where a lock stands in the order.
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
    /// Notes that this thread takes a lock of this rank.
    ///
    /// # Panics
    ///
    /// In debug builds, where the thread holds one that stands no higher in the order.
    #[inline]
    pub(in crate::heap) fn enter(self) {
        #[cfg(debug_assertions)]
        {
            let held = HELD.get();
            assert!(
                held >> self as u32 == 0,
                "a lock of rank {self:?} is taken under others ({held:05b})"
            );
            HELD.set(held | 1 << self as u32);
        }
    }

    /// Notes that it is released.
    #[inline]
    pub(crate) fn leave(self) {
        #[cfg(debug_assertions)]
        HELD.set(HELD.get() & !(1 << self as u32));
    }

    /// Checks, in debug builds, that this thread holds no lock of this rank or below it.
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
