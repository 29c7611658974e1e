//! What a thread that waits for a lock sees of the lock's owner: whether it runs.

use super::heap::Heap;
use crate::os::clock::now;
use crate::os::pid::Activity;

/// For how long an owner must be idle to end a wait that no deadline ends earlier.
pub(in crate::heap) const IDLE: u64 = 1_000_000_000;
/// The time that a call without a wait grants an owner that is at work, and the shortest time that counts as idle.
pub(in crate::heap) const MOMENT: u64 = 5_000_000;

/// What a waiting thread has seen of the owner.
pub(in crate::heap) struct OwnerActivity {
    began: u64,
    /// The owner that was seen idle, and the time at which it was first seen so.
    idle: Option<(u32, u64)>,
}

impl OwnerActivity {
    /// Returns the state of a wait that began at `began` and has seen nothing yet.
    pub(in crate::heap) fn new(began: u64) -> Self {
        Self { began, idle: None }
    }

    /// Returns whether the wait for `owner` is to end: the owner does not run, and either the caller's time is up
    /// (`late`) or the owner has been idle for [`IDLE`].
    pub(in crate::heap) fn is_idle(&mut self, heap: &Heap, owner: u32, late: bool) -> bool {
        let now = now();
        if owner == 0 || owner == heap.me() {
            self.idle = None;
            return false;
        }
        let timeout = if late { MOMENT } else { IDLE };
        match heap.activity(owner) {
            Activity::Running => {
                self.idle = None;
                false
            }
            Activity::Stopped => late || now - self.began >= IDLE,
            // It may have run between two looks. An owner whose state cannot be seen is treated alike.
            Activity::Idle | Activity::Unknown => {
                let since = match self.idle {
                    Some((known, since)) if known == owner => since,
                    _ => {
                        self.idle = Some((owner, now));
                        now
                    }
                };
                now - since >= timeout
            }
        }
    }
}
