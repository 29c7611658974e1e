//! Whether the owner of a lock runs, as far as somebody who waits for it can see.

use super::heap::Heap;
use crate::os::clock::now;
use crate::os::pid::Activity;

/// How long an owner must have done nothing for the wait to end, where no deadline ends it earlier.
pub(in crate::heap) const IDLE: u64 = 1_000_000_000;
/// What a call that does not wait grants an owner that is at work; and how long one must be idle to be idle at all.
pub(in crate::heap) const MOMENT: u64 = 5_000_000;

/// What a waiter has seen of the owner.
pub(in crate::heap) struct OwnerActivity {
    began: u64,
    /// The owner that was seen to do nothing, and since when it has been seen so.
    idle: Option<(u32, u64)>,
}

impl OwnerActivity {
    /// Has seen nothing yet, of a wait that began at `began`.
    pub(in crate::heap) fn new(began: u64) -> Self {
        Self { began, idle: None }
    }

    /// Whether the wait for `owner` is to end: it does not run, and the caller's time is up or it has been so for long.
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
            // It may have slept and run in between; an owner whose state cannot be seen is treated alike.
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
