//! Clearing up after dead processes: repairing what they were changing, and giving up their references.
//!
//! It is done by the process that notices the death:
//!
//! * the parent that reaps the dead process;
//! * a process that starts another one, which checks two entries each time;
//! * a thread that waits in vain for something that a dead process may have;
//! * a process that runs out of memory or of entries.
//!
//! One process at a time clears up, under the sweep lock. Each step is a transaction, so a death while clearing up
//! leaves the rest to the next process.

use super::table::WANTED;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::memory::layout::{entry, header, state};
use crate::heap::memory::limit::until;
use crate::heap::memory::locks::unlock_internal;
use crate::heap::memory::owners::index_of;
use crate::heap::memory::rank::Rank;
use crate::os;
use crate::os::clock::Deadline;
use crate::wait::BACKSTOP;
use crate::wait::atomic::Ordering;

/// The number of entries that a process checks when it starts another.
const GLANCES: u64 = 2;
/// The time for which a waiting thread checks entries, once a second, in nanoseconds.
const LOOK: u64 = 120_000;

impl Heap {
    /// Clears up after process `id`, which is dead. Its entry stays while its parent may ask for result and status.
    pub(crate) fn clear_up(&self, id: u32) -> Result<()> {
        let sweep = &self.header().sweep;
        // Known to be dead: a thread that waits for the lock need not check that first.
        self.header().tx_lock.mark_owner_dead(id);
        sweep.mark_owner_dead(id);
        // A sweep begins at the beginning, so the death of the last owner needs no repair.
        self.lock_internal(sweep, Rank::Sweep)?;
        let answer = self.sweep(id);
        unlock_internal(sweep, Rank::Sweep);
        answer
    }

    /// Clears up after a process that seems to be dead, unless another process is clearing up already: then that
    /// one, or the next to check the entry, does it. Returns whether it was dead and cleared up after.
    fn clear_up_quickly(&self, id: u32) -> bool {
        let (sweep, me) = (&self.header().sweep, self.me());
        // Without an owner is also a lock that a waiting thread has marked and not yet taken.
        let is_dead = |owner| owner == 0 || !self.alive(owner);
        let locked = self.try_internal(sweep, Rank::Sweep)
            || (me != 0 && is_dead(sweep.owner()) && self.lock_internal(sweep, Rank::Sweep).is_ok());
        if !locked {
            return false;
        }
        // Checked once more: the entry may have been cleared up after or freed since the caller looked.
        let due = self.is_due(index_of(id), id);
        let done = due && self.sweep(id).is_ok();
        unlock_internal(sweep, Rank::Sweep);
        done
    }

    /// Clears up after process `id`, under the lock.
    fn sweep(&self, id: u32) -> Result<()> {
        self.replay_journal()?;
        let index = index_of(id);
        let Some(entry) = self.entry_of(id) else {
            return Ok(());
        };
        if entry.state.load(Ordering::Acquire) != state::GONE {
            self.end_growth(id)?;
            self.announce_death(id, index)?;
            self.drop_references(index)?;
            self.drop_reference(entry!(index, start))?;
            self.transact(|tx| {
                tx.set(entry!(index, state), state::GONE);
                Ok(())
            })?;
            entry.phase.swap(
                entry.phase.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::AcqRel,
            );
            entry.phase.futex_wake(u32::MAX);
            self.header().lookout.count_death();
        }
        let parent = entry.parent.load(Ordering::Relaxed) as u32;
        let wanted = entry.flags.load(Ordering::Acquire) & WANTED != 0 && self.alive(parent);
        if !wanted {
            self.drop_reference(entry!(index, result))?;
            self.transact(|tx| {
                if tx.get(entry!(index, id)) == u64::from(id) {
                    Self::free_entry(tx, index);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Records that the parent of `id` has no more questions: the entry can go once the process is dead.
    pub(crate) fn no_longer_wanted(&self, id: u32) -> Result<()> {
        let index = index_of(id);
        let gone = self.transact(|tx| {
            if tx.get(entry!(index, id)) != u64::from(id) {
                return Ok(false);
            }
            tx.set(entry!(index, flags), tx.get(entry!(index, flags)) & !WANTED);
            Ok(tx.get(entry!(index, state)) == state::GONE)
        })?;
        if gone { self.clear_up(id) } else { Ok(()) }
    }

    /// Checks the next entries in turn, so that dead processes for which no process waits are found in time.
    pub(in crate::heap) fn sweep_next_entries(&self) {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        for _ in 0..GLANCES.min(top) {
            self.check_next_entry(top);
        }
    }

    /// Checks entries in turn, for a thread that has waited in vain for what a dead process may have, and cannot
    /// know which process that is. Does nothing if a process of the program has done so within the last second.
    /// Checks all entries if they are few, and as many as it can within [`LOOK`].
    pub(crate) fn sweep_dead_rate_limited(&self) {
        let (looked, now) = (&self.header().looked, os::clock::now());
        let last = looked.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= BACKSTOP / 10 * 9;
        if due
            && looked
                .compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            // This thread waits with a deadline of its own, and another one will check.
            until(Deadline::Now, || {
                let top = self.word(header!(table_top)).load(Ordering::Acquire);
                for _ in 0..top {
                    let found = self.check_next_entry(top);
                    if !found && os::clock::now() - now > LOOK {
                        break;
                    }
                }
            });
        }
        // What this process could not give up while another one was stopped.
        self.give_up_postponed();
    }

    /// Checks the entry whose turn it is. Returns whether its process was dead.
    fn check_next_entry(&self, top: u64) -> bool {
        // Two threads at a time may check the same entry; nothing is done twice.
        let turn = &self.header().janitor;
        let index = turn.load(Ordering::Relaxed) % top.max(1);
        turn.store(index + 1, Ordering::Relaxed);
        self.check_entry(index)
    }

    /// Clears up after entry `index` if its process is dead. Returns whether it was.
    fn check_entry(&self, index: u64) -> bool {
        let id = self.entry(index).id.load(Ordering::Acquire) as u32;
        id != 0 && self.is_due(index, id) && self.clear_up_quickly(id)
    }

    /// Returns whether entry `index` is that of a dead process `id`, and is to be cleared up after.
    fn is_due(&self, index: u64, id: u32) -> bool {
        let entry = self.entry(index);
        let orphan = || {
            let parent = entry.parent.load(Ordering::Relaxed) as u32;
            entry.flags.load(Ordering::Acquire) & WANTED == 0 || !self.alive(parent)
        };
        let due = match entry.state.load(Ordering::Acquire) {
            state::FREE => false,
            state::GONE => orphan(),
            _ => !self.alive(id),
        };
        due && entry.id.load(Ordering::Acquire) as u32 == id
    }

    /// Clears up after every dead process of the program. Returns whether there was one.
    pub(crate) fn clear_up_all_dead(&self) -> bool {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        // `count` visits all entries; `any` would stop at the first dead one.
        (0..top).filter(|&index| self.check_entry(index)).count() > 0
    }

    /// Makes room for another process: clears up after dead processes, and gives warm memory back. Returns whether
    /// there was any. Not to be called under another lock.
    pub(in crate::heap) fn make_room(&self) -> bool {
        let dead = self.clear_up_all_dead();
        self.cool_everything().unwrap_or(false) || dead
    }
}
