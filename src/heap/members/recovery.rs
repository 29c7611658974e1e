//! Clearing up after the dead: repairing what they were changing and giving up what they held.
//!
//! Whoever notices does it: the parent that reaps, a process that starts another (it looks at two entries each time),
//! whoever waits in vain for what the dead may have had, or runs out of memory or of entries. One at a time, under the
//! sweep latch; each step is a transaction, so a death while clearing up leaves the rest to the next.

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

/// Entries a process that makes one looks at.
const GLANCES: u64 = 2;
/// How long somebody who waits looks at others, once a second, in nanoseconds.
const LOOK: u64 = 120_000;

impl Heap {
    /// Clears up after process `id`, which is dead. Its entry stays while its parent may ask for result and status.
    pub(crate) fn clear_up(&self, id: u32) -> Result<()> {
        let sweep = &self.header().sweep;
        // Known to be dead: nobody need wait to ask.
        self.header().tx_lock.mark_owner_dead(id);
        sweep.mark_owner_dead(id);
        // Sweeping begins at the beginning, whoever died sweeping.
        self.lock_internal(sweep, Rank::Sweep)?;
        let answer = self.sweep(id);
        unlock_internal(sweep, Rank::Sweep);
        answer
    }

    /// The same for a process that seems to be dead, unless somebody clears up already: then that one, or whoever looks next,
    /// does it. Whether it was dead.
    fn clear_up_quickly(&self, id: u32) -> bool {
        let (sweep, me) = (&self.header().sweep, self.me());
        // Nobody's is one that a waiter has marked and not taken.
        let is_dead = |owner| owner == 0 || !self.alive(owner);
        let locked = self.try_internal(sweep, Rank::Sweep)
            || (me != 0 && is_dead(sweep.owner()) && self.lock_internal(sweep, Rank::Sweep).is_ok());
        if !locked {
            return false;
        }
        // Asked once more: its entry may have been taken over, or freed, since the caller looked.
        let due = self.is_due(index_of(id), id);
        let done = due && self.sweep(id).is_ok();
        unlock_internal(sweep, Rank::Sweep);
        done
    }

    fn sweep(&self, id: u32) -> Result<()> {
        self.replay_journal()?;
        let index = index_of(id);
        let Some(entry) = self.entry_of(id) else {
            return Ok(());
        };
        if entry.state.load(Ordering::Acquire) != state::GONE {
            self.bury_grower(id)?;
            self.bury_references(id, index)?;
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

    /// The parent of `id` has no more questions: its entry can go once it is dead.
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

    /// Looks at the next entries in turn, so that the dead nobody waits for are found in time.
    pub(in crate::heap) fn sweep_next_entries(&self) {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        for _ in 0..GLANCES.min(top) {
            self.check_next_entry(top);
        }
    }

    /// For somebody who has waited in vain for what a dead process may have, and cannot know whose it is: looks at others in turn,
    /// unless somebody of the program has done so within the last second. It looks at all where they are not many, and at as
    /// many as it can in [`LOOK`].
    pub(crate) fn sweep_dead_rate_limited(&self) {
        let (looked, now) = (&self.header().looked, os::clock::now());
        let last = looked.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= BACKSTOP / 10 * 9;
        if due
            && looked
                .compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            // Whoever looks has a deadline of its own, and somebody else will look.
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
        // What this process could not give up beside somebody who was stopped.
        self.give_up_postponed();
    }

    /// Looks at the entry whose turn it is; whether its process was dead.
    fn check_next_entry(&self, top: u64) -> bool {
        // Two who look at a time may look at the same, and do nothing twice.
        let turn = &self.header().janitor;
        let index = turn.load(Ordering::Relaxed) % top.max(1);
        turn.store(index + 1, Ordering::Relaxed);
        self.check_entry(index)
    }

    /// Clears up after entry `index` if it is somebody's who is dead; whether it was.
    fn check_entry(&self, index: u64) -> bool {
        let id = self.entry(index).id.load(Ordering::Acquire) as u32;
        id != 0 && self.is_due(index, id) && self.clear_up_quickly(id)
    }

    /// Whether entry `index` is that of a dead process `id` that is to be cleared up after.
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

    /// Clears up after every dead process of the program; whether there was one.
    pub(crate) fn clear_up_all_dead(&self) -> bool {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        // All of them, not just the first that is dead.
        (0..top).filter(|&index| self.check_entry(index)).count() > 0
    }

    /// Makes room for another process: clears up after the dead, and gives back memory that is kept warm; whether there was
    /// any. Nobody calls it under another lock.
    pub(in crate::heap) fn make_room(&self) -> bool {
        let dead = self.clear_up_all_dead();
        self.cool_everything().unwrap_or(false) || dead
    }
}
