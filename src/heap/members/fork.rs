//! Forking: a child of fork(2) is a process of its own from its first instruction on, whoever called fork.
//!
//! `pthread_atfork(3)` tells us, from before there is a heap, and no process forks while it makes one.
//!
//! | step | who | what others see; what a survivor finds if it dies here |
//! | --- | --- | --- |
//! | look at two entries, whether their processes are dead | parent | - |
//! | no thread changes what is held from here on | parent | - |
//! | reserve an entry; take the lock that is to witness its life | parent | it lives as the parent does, then as the lock |
//! | give it a reference to all that the parent holds, slot for slot, or page by page | parent | dies here: the lock goes, the entry is dead, and what it holds is given up |
//! | fork | parent | child: has the lock's description; fork fails: nobody has, as soon as the parent closes its own |
//! | close the descriptor of the lock; is it held still? | parent | not: the fork failed, or the child is dead already; the entry goes |
//! | take the entry over (it must be reserved still), map the lock, close it | child | the lock goes with the child, however it ends, and at `execve` |
//!
//! So the handles that the child inherits and its table of references agree, and a child that is late (its parent gone, its
//! processor taken away) keeps its entry. A child for which there is no room, although the dead were cleared up after and some
//! entries and memory are for forks alone, has no id: every operation is [`Error::NoIdentity`](crate::Error::NoIdentity) there.
//! So it is in a child that the C library does not see being made (a bare `clone`): its id is in memory that the kernel
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

/// How often room is made for a child that others take in between.
const TRIES: u32 = 16;

/// The entry of the child that a fork makes.
#[derive(Clone, Copy)]
struct PendingChild {
    id: u32,
    /// The descriptor of the lock that witnesses its life, -1 for none.
    claim: RawFd,
    /// Whether it was reserved by who asked for the child, who will hear of its end; otherwise it was by the fork itself.
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
    /// Whether the first of the three functions below was called, and neither of the others yet.
    static BEGUN: Cell<bool> = const { Cell::new(false) };
    /// What the child that is being forked is to take over.
    static RESERVED: Cell<PendingChild> = const { Cell::new(PendingChild::NONE) };
    /// Asks for the child to be somebody's in particular: see [`adopt_as`].
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

/// The next fork of this thread makes the process of this entry, which its parent has reserved and whose lock `claim` is.
pub(crate) fn adopt_as(id: u32, claim: RawFd) {
    PLANNED.set(PendingChild {
        id,
        claim,
        planned: true,
    });
}

/// Owner id of the child that this thread forked last, 0 for none.
pub(crate) fn last_child() -> u32 {
    LAST.get()
}

/// Has the C library call us around every fork of this process.
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
    // Who reserved the entry of a planned child has looked.
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
    /// An entry that holds what this process holds: `planned`, or a new one where that is none. Called, and left, with other
    /// threads kept from changing that; where it must make room, it lets them go on meanwhile.
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
                // What was copied in part goes; then so does what nobody needs.
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
            // Without its lock the entry is dead, and whoever looks after the dead frees it.
            self.give_up_claim(pending.claim);
        }
        PendingChild::NONE
    }

    /// Reserves an entry, if `birth` is none yet, and copies into it; false if there is not enough room.
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

    /// Takes back what a copy that failed has put into its entry.
    fn drop_copy(&self, pending: PendingChild) -> Result<()> {
        if pending.id == 0 {
            Ok(())
        } else {
            self.drop_references(index_of(pending.id))
        }
    }

    /// In the parent: the child has the lock of its entry, or there is no child. The error of a fork is seen by its caller, who
    /// may be anybody; the lock tells whether there was one, and where there is none, what error was left behind.
    fn see_off(&self, child: PendingChild, failed: bool) {
        self.give_up_claim(child.claim);
        let is_there = if child.claim >= 0 {
            self.alive(child.id)
        } else {
            !failed
        };
        if !is_there && !is_steady() {
            // An error leaves it to whoever looks after the dead.
            let _ = self.drop_entry(child.id);
        }
    }

    /// In a forked child: takes its entry over.
    fn wake_up(&self, child: PendingChild) {
        // Without an entry (there was no room for one) the process has no id, and whatever it wants to do with what is
        // shared is an error.
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
        // No child is forked between its being forgotten and its being closed.
        let _steady = steady();
        os::witness::give_up(claim, |fd| self.is_own(fd));
    }

    /// Closes a descriptor of a lock that this process was sent; not the one that it asks with.
    pub(crate) fn close_claim(&self, claim: RawFd) {
        let asked = self.witnesses().map(|fd| fd.as_raw_fd());
        if asked != Some(claim) {
            os::witness::close_sent(claim, |fd| self.is_own(fd));
        }
    }
}
