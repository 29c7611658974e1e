//! Forking: a child of fork(2) is a process of its own from its first instruction on, whichever code called fork.
//!
//! `pthread_atfork(3)` calls this file. The handlers are installed before there is a heap, and no process forks while
//! it makes one.
//!
//! 1. Parent: check two entries for dead processes.
//! 2. Parent: keep other threads from changing references.
//! 3. Parent: reserve an entry, and take the lock that witnesses its life. The entry lives as long as the parent, then
//!    as long as the lock is held.
//! 4. Parent: give the entry a reference to everything that the parent refers to, slot for slot, or page by page. If
//!    the parent dies here, the lock goes, the entry is dead, and its references are given up.
//! 5. Fork. The child shares the lock. If the fork fails, the lock goes when the parent closes it.
//! 6. Parent: close the descriptor of the lock, and check whether the lock is still held. If not, the fork failed or
//!    the child is dead already: the entry is freed.
//! 7. Child: adopt the entry (it must still be reserved), map the lock, and close it. The lock goes with the child,
//!    however the child ends, and at `execve`.
//!
//! So the handles that the child inherits and its table of references agree. A child that is late (its parent gone, its
//! processor taken away) keeps its entry.
//!
//! Some entries and some memory are for forks alone. A child for which there is no room even so, after dead processes
//! were cleared up after, has no owner id: every operation in it is [`Error::NoIdentity`](crate::Error::NoIdentity).
//! The same holds in a child that is made without the C library (a bare `clone`): the id is in memory that the kernel
//! clears in every child (`MADV_WIPEONFORK`).

use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::layout::PROCESSES;
use crate::heap::memory::owners::index_of;
use crate::heap::memory::steady::{hold_still, is_steady, move_on, set_makes_child};
use crate::os;
use std::cell::Cell;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

// At their old paths, for the rooms below.
pub(crate) use crate::heap::memory::steady::steady;

/// The number of attempts to make room for a child, where others take the room in between.
const TRIES: u32 = 16;

/// The entry of the child that a fork makes.
#[derive(Clone, Copy)]
struct PendingChild {
    id: u32,
    /// The descriptor of the lock that witnesses its life, -1 for none.
    claim: RawFd,
    /// Whether the code that starts the child reserved the entry, and learns of its end; otherwise the fork itself did.
    planned: bool,
}

impl PendingChild {
    const NONE: Self = Self {
        id: 0,
        claim: -1,
        planned: false,
    };
}

thread_local! {
    /// Whether `before` was called, and neither `after_in_parent` nor `after_in_child` yet.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
    /// The entry that the child which is being forked will adopt.
    static RESERVED: Cell<PendingChild> = const { Cell::new(PendingChild::NONE) };
    /// The entry for the next child, where one was set: see [`adopt_as`].
    static PLANNED: Cell<PendingChild> = const { Cell::new(PendingChild::NONE) };
    /// The child that this thread forked last.
    static LAST: Cell<u32> = const { Cell::new(0) };
}

/// Called in every forked child, once it is a process of its own.
static ON_CHILD: OnceLock<fn()> = OnceLock::new();

/// Has `function` called in forked children.
pub(crate) fn on_child(function: fn()) {
    let _ = ON_CHILD.set(function);
}

/// Makes the next fork of this thread use an entry that its parent has reserved, and whose lock is `claim`.
pub(crate) fn adopt_as(id: u32, claim: RawFd) {
    PLANNED.set(PendingChild {
        id,
        claim,
        planned: true,
    });
}

/// Returns the owner id of the child that this thread forked last, 0 for none.
pub(crate) fn last_child() -> u32 {
    LAST.get()
}

/// Has the C library call the functions below around every fork of this process.
pub(crate) fn install_handlers() {
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
    let outermost = !is_steady();
    // For a planned child this was done when its entry was reserved.
    if outermost
        && !PLANNED.get().planned
        && let Some(heap) = Heap::existing()
    {
        heap.sweep_next_entries();
    }
    hold_still(outermost);
    if let Some(heap) = Heap::existing() {
        let planned = PLANNED.replace(PendingChild::NONE);
        RESERVED.set(heap.prepare_child(planned, outermost));
    }
    os::fork::forget_error();
}

extern "C" fn after_in_parent() {
    if !BEGUN.replace(false) {
        return;
    }
    let failed = os::fork::seems_failed();
    let child = RESERVED.replace(PendingChild::NONE);
    move_on();
    LAST.set(child.id);
    if let Some(heap) = Heap::existing()
        && child.id != 0
        && !child.planned
    {
        heap.see_off(child, failed);
    }
}

extern "C" fn after_in_child() {
    if !BEGUN.replace(false) {
        return;
    }
    os::pid::forget_thread();
    if let Some(heap) = Heap::existing() {
        heap.wake_up(RESERVED.replace(PendingChild::NONE));
    }
    move_on();
    if let Some(function) = ON_CHILD.get() {
        function();
    }
}

impl Heap {
    /// Fills an entry with references to everything that this process refers to: `planned`, or a new entry if that
    /// is none. On entry and on return other threads are kept from changing the references; while room must be
    /// made, they go on.
    fn prepare_child(&self, planned: PendingChild, outermost: bool) -> PendingChild {
        let mut pending = planned;
        let mut cleared = false;
        for _ in 0..TRIES {
            let copied = self.reserve_and_copy(&mut pending);
            if let Ok(true) = copied {
                return pending;
            }
            if !outermost {
                break;
            }
            move_on();
            set_makes_child(true);
            let mut room = copied.and_then(|_| self.make_room_for_copy());
            set_makes_child(false);
            if room.is_err() && !cleared {
                // The partial copy goes, and then all memory that is not needed.
                cleared = true;
                room = self.drop_copy(pending);
                self.make_room();
            }
            hold_still(outermost);
            if room.is_err() {
                break;
            }
        }
        if !pending.planned {
            // Without its lock the entry is dead, and clearing up frees it.
            self.give_up_claim(pending.claim);
        }
        PendingChild::NONE
    }

    /// Reserves an entry, if `pending` has none yet, and copies the references into it. Returns false if there is
    /// not enough room.
    fn reserve_and_copy(&self, pending: &mut PendingChild) -> Result<bool> {
        if pending.id == 0 {
            let reserved = self.reserve_quickly(self.me(), 0, "fork", PROCESSES)?;
            *pending = PendingChild {
                id: reserved.id,
                claim: reserved.into_raw(),
                planned: false,
            };
        }
        self.copy_references(index_of(pending.id))
    }

    /// Takes back what a failed copy has put into its entry.
    fn drop_copy(&self, pending: PendingChild) -> Result<()> {
        if pending.id == 0 {
            Ok(())
        } else {
            self.drop_references(index_of(pending.id))
        }
    }

    /// Closes, in the parent, the lock that the child now has; frees the entry if there is no child. The error of a
    /// failed fork is seen only by its caller, which may be any code. The lock tells whether there is a child;
    /// without a lock, the error that fork left tells.
    fn see_off(&self, child: PendingChild, failed: bool) {
        self.give_up_claim(child.claim);
        let is_there = if child.claim >= 0 {
            self.alive(child.id)
        } else {
            !failed
        };
        if !is_there && !is_steady() {
            // After an error, clearing up after dead processes frees it.
            let _ = self.drop_entry(child.id);
        }
    }

    /// Adopts the entry, in a forked child.
    fn wake_up(&self, child: PendingChild) {
        // Without an entry (there was no room for one) the process has no id, and every use of shared objects is an
        // error.
        self.set_me(0);
        self.space.forked();
        if child.id != 0 {
            let _ = self.adopt_entry(child.id, os::witness::borrow(child.claim));
        }
        let handled = if child.planned { child.claim } else { -1 };
        os::witness::close_inherited(handled, |fd| self.is_own(fd));
    }

    /// Closes this process's descriptor of a lock that is meant for a child.
    pub(crate) fn give_up_claim(&self, claim: RawFd) {
        // No child is forked between the removal from the list and the closing.
        let _steady = steady();
        os::witness::give_up(claim, |fd| self.is_own(fd));
    }

    /// Closes a descriptor of a lock that this process was sent, unless it is the one with which it asks for locks.
    pub(crate) fn close_claim(&self, claim: RawFd) {
        let asked = self.witnesses().map(|fd| fd.as_raw_fd());
        if asked != Some(claim) {
            os::witness::close_sent(claim, |fd| self.is_own(fd));
        }
    }
}
