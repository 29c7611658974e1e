//! The life of an entry of the process table, for loom: reserved, given a witness, adopted by a child that may be late
//! or never come, left by a dead process, cleared up by a survivor, and used again. The entry and its reading
//! (`owners.rs`) are the real ones.
//!
//! The kernel's lock is a count of the processes that have its open file description. It is held while the count is not
//! zero. A transaction is a mutex here: what it writes is read without the mutex, in any order that the memory model
//! allows.

use super::memory::layout::{ProcessEntry, state};
use super::memory::owners::Life;
use crate::wait::atomic::Ordering;
use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Mutex};
use loom::thread;

const CHILD: u32 = 1 << 15;
const NEXT: u32 = 2 << 15;

struct Model {
    entry: ProcessEntry,
    transaction: Mutex<()>,
    sweep: Mutex<()>,
    /// The number of processes that have a descriptor or a mapping of the description with the lock.
    holders: AtomicU32,
    parent_lives: AtomicU32,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            entry: ProcessEntry::new(),
            transaction: Mutex::new(()),
            sweep: Mutex::new(()),
            holders: AtomicU32::new(0),
            parent_lives: AtomicU32::new(1),
        })
    }

    fn transact<T>(&self, stage: impl FnOnce(&ProcessEntry) -> T) -> T {
        let _latched = self.transaction.lock().expect("nobody panics");
        stage(&self.entry)
    }

    /// Does what `Heap::reserve_quickly` does: reserves the entry in a transaction, takes the lock, then records that
    /// the entry has a lock.
    fn reserve(&self, id: u32) -> bool {
        let taken = self.transact(|entry| {
            if entry.state.load(Ordering::Relaxed) != state::FREE {
                return false;
            }
            entry.witnessed.store(0, Ordering::Release);
            entry.state.store(state::RESERVED, Ordering::Release);
            entry.id.store(u64::from(id), Ordering::Release);
            true
        });
        if taken {
            self.holders.fetch_add(1, Ordering::SeqCst);
            self.entry.witnessed.store(1, Ordering::Release);
        }
        taken
    }

    /// Does what `Heap::take_over` does.
    fn adopt_entry(&self, id: u32) -> bool {
        self.transact(|entry| {
            let is_mine = entry.id.load(Ordering::Relaxed) == u64::from(id)
                && entry.state.load(Ordering::Relaxed) == state::RESERVED;
            if is_mine {
                entry.state.store(state::LIVE, Ordering::Release);
            }
            is_mine
        })
    }

    /// A descriptor is closed, or a process's memory goes.
    fn let_go(&self) {
        self.holders.fetch_sub(1, Ordering::SeqCst);
    }

    /// Returns whether a process lives, as `alive` does where no process has a pid.
    fn alive(&self, id: u32) -> bool {
        match self.entry.life(id) {
            Life::Over => false,
            Life::Witnessed => self.holders.load(Ordering::SeqCst) > 0,
            Life::Numbered(_) | Life::Expected => self.parent_lives.load(Ordering::SeqCst) != 0,
        }
    }

    fn is_due(&self, id: u32) -> bool {
        let due = self.entry.state.load(Ordering::Acquire) != state::FREE && !self.alive(id);
        due && self.entry.id.load(Ordering::Acquire) == u64::from(id)
    }

    /// Does what `check_entry` does: if the process is dead, checks once more under the sweep lock, and frees the
    /// entry.
    fn look(&self) {
        let id = self.entry.id.load(Ordering::Acquire) as u32;
        if id == 0 || !self.is_due(id) {
            return;
        }
        let Ok(_sweep) = self.sweep.try_lock() else {
            return;
        };
        if self.is_due(id) {
            self.free(id);
        }
    }

    fn free(&self, id: u32) {
        self.transact(|entry| {
            if entry.id.load(Ordering::Relaxed) == u64::from(id) {
                entry.state.store(state::FREE, Ordering::Release);
                entry.id.store(0, Ordering::Release);
            }
        });
    }

    /// Returns whether the entry is that of the living process `id`.
    fn is_of(&self, id: u32) -> bool {
        self.transact(|entry| {
            entry.id.load(Ordering::Relaxed) == u64::from(id)
                && entry.state.load(Ordering::Relaxed) == state::LIVE
        })
    }
}

/// What becomes of a fork.
#[derive(Clone, Copy, PartialEq)]
enum Fork {
    Succeeds,
    Fails,
    /// The child is killed before it has done anything.
    Stillborn,
}

/// A parent forks (and is gone at once, or stays) while a survivor looks at the entry, and uses it again if it can.
fn life(fork: Fork, parent_stays: bool) {
    let mut check = loom::model::Builder::new();
    // Faults of this kind need few changes of thread; with more, it takes minutes.
    check.preemption_bound = Some(3);
    check.check(move || {
        let model = Model::new();
        assert!(model.reserve(CHILD));
        let survivor = {
            let model = model.clone();
            thread::spawn(move || {
                model.look();
                model.reserve(NEXT)
            })
        };
        let child = (fork != Fork::Fails).then(|| {
            // The child has the description from the fork on, before the parent closes its own descriptor.
            model.holders.fetch_add(1, Ordering::SeqCst);
            let model = model.clone();
            thread::spawn(move || {
                if fork == Fork::Succeeds {
                    assert!(model.adopt_entry(CHILD), "a living child was robbed of its entry");
                    assert!(model.is_of(CHILD), "the entry of a living process was freed");
                }
                model.let_go();
            })
        });
        model.let_go();
        if parent_stays {
            // As `see_off`.
            if !model.alive(CHILD) {
                let _sweep = model.sweep.lock().expect("nobody panics");
                model.free(CHILD);
            }
        } else {
            model.parent_lives.store(0, Ordering::SeqCst);
        }
        if let Some(child) = child {
            child.join().expect("the child");
        }
        let reused = survivor.join().expect("the survivor");
        model.look();
        let id = model.entry.id.load(Ordering::Acquire) as u32;
        assert_eq!(id, if reused { NEXT } else { 0 }, "the dead stay");
    });
}

#[test]
fn loom_a_child_keeps_its_entry_while_its_parent_stays() {
    life(Fork::Succeeds, true);
}

#[test]
fn loom_a_late_child_keeps_its_entry_though_its_parent_is_gone() {
    life(Fork::Succeeds, false);
}

#[test]
fn loom_a_failed_fork_leaves_nothing() {
    life(Fork::Fails, true);
    life(Fork::Fails, false);
}

#[test]
fn loom_a_child_killed_before_it_ran_leaves_nothing() {
    life(Fork::Stillborn, true);
    life(Fork::Stillborn, false);
}
