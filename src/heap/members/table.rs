//! The process table: the processes of the program, from the reservation of an entry to its release.

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::memory::layout::{NAME, PROCESSES, entry, header, state};
use crate::heap::memory::owners::{GENERATIONS, id_of};
use crate::heap::memory::steady::steady;
use crate::heap::memory::tx::Tx;
use crate::os;
use crate::os::witness::Claim;
use crate::wait::atomic::Ordering;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

// At their old paths, for the rooms below.
pub(crate) use crate::heap::memory::owners::index_of;

/// The process is a daemon.
pub(crate) const DAEMON: u64 = 1;
/// Its parent has a handle and will ask how it ended.
pub(crate) const WANTED: u64 = 2;
/// Another process than its parent forked it (the fork server), and that one collects its exit status.
pub(crate) const VIA_SERVER: u64 = 4;
/// Its parent is responsible for it: at its own end it waits for the child, or ends it.
pub(crate) const CHILD: u64 = 8;

/// Entries that only forks may use, because a fork cannot be refused.
const FOR_FORKS: u64 = 64;

/// An entry for a process that is about to be started.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Its owner id.
    pub id: u32,
    /// The lock that witnesses its life, to be passed on to it; `None` where there is no such lock.
    pub claim: Option<Claim>,
}

impl Reserved {
    /// Returns the number of the lock's descriptor; -1 for none.
    pub(crate) fn claim_fd(&self) -> RawFd {
        self.claim.as_ref().map_or(-1, |claim| claim.as_fd().as_raw_fd())
    }

    /// Leaves the descriptor open, for [`Heap::give_up_claim`], and returns its number; -1 for none.
    pub(crate) fn into_raw(mut self) -> RawFd {
        self.claim.take().map_or(-1, Claim::into_raw)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // No child is forked between the removal from the list and the closing.
        let _steady = steady();
        drop(self.claim.take());
    }
}

impl Heap {
    /// Enters the first process of the program.
    pub(in crate::heap) fn register_first(&self) -> Result<()> {
        // It needs an owner id to take the lock for the first time. No other process sees the heap yet.
        self.set_me(id_of(0, 1));
        let reserved = self.reserve_quickly(0, 0, "main", PROCESSES)?;
        debug_assert_eq!(reserved.id, self.me());
        self.adopt_entry(reserved.id, reserved.claim.as_ref().map(AsFd::as_fd))
    }

    /// Takes over, for this process, the entry `id`, which its parent reserved, with the lock that witnesses its
    /// life.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`] if the entry is not (or no longer) for this process, and, without a lock,
    /// [`Error::OwnerStopped`]; then the process has no entry.
    pub(crate) fn adopt_entry(&self, id: u32, claim: Option<BorrowedFd<'_>>) -> Result<()> {
        self.set_me(id);
        let witnessed = claim.is_some_and(|claim| {
            self.join_lives(claim);
            os::witness::keep(claim).is_ok()
        });
        let mut adopted = self.take_over(id, witnessed);
        // A process is stopped in the middle of a transaction. With the lock, no other process can use the entry, so
        // its words may change one by one: the state last.
        if matches!(adopted, Err(Error::OwnerStopped { .. }))
            && witnessed
            && let Some(entry) = self.entry_of(id)
        {
            let [pid, started, namespace] = what_others_see();
            entry.pid.store(pid, Ordering::Relaxed);
            entry.started.store(started, Ordering::Relaxed);
            entry.namespace.store(namespace, Ordering::Relaxed);
            entry.state.store(state::LIVE, Ordering::Release);
            adopted = Ok(());
        }
        if adopted.is_err() {
            self.set_me(0);
        }
        adopted
    }

    /// Makes the entry live, in a transaction.
    fn take_over(&self, id: u32, witnessed: bool) -> Result<()> {
        let [pid, started, namespace] = what_others_see();
        let index = index_of(id);
        self.transact(|tx| {
            if tx.get(entry!(index, id)) != u64::from(id) || tx.get(entry!(index, state)) != state::RESERVED {
                return Err(Error::NoIdentity);
            }
            tx.set(entry!(index, pid), pid);
            tx.set(entry!(index, started), started);
            tx.set(entry!(index, namespace), namespace);
            if !witnessed {
                tx.set(entry!(index, witnessed), 0);
            }
            tx.set(entry!(index, state), state::LIVE);
            Ok(())
        })
    }

    /// Reserves an entry for a process that `parent` is about to start. Also checks the next entries for dead
    /// processes.
    pub(crate) fn reserve(&self, parent: u32, flags: u64, name: &str) -> Result<Reserved> {
        self.sweep_next_entries();
        let most = PROCESSES - FOR_FORKS;
        match self.reserve_quickly(parent, flags, name, most) {
            Err(Error::TooManyProcesses { .. } | Error::OutOfMemory { .. }) if self.make_room() => {
                self.reserve_quickly(parent, flags, name, most)
            }
            answer => answer,
        }
    }

    /// Reserves an entry among the first `most`, without checking others: for a fork, which must wait for no lock
    /// except the heap's.
    pub(in crate::heap) fn reserve_quickly(
        &self,
        parent: u32,
        flags: u64,
        name: &str,
        most: u64,
    ) -> Result<Reserved> {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        self.enlarge_table((top + 64).min(PROCESSES))?;
        let id = self.transact(|tx| {
            Self::take_entry(tx, parent, flags, name, most).ok_or(Error::TooManyProcesses { max: most })
        })?;
        // No child is forked that has the lock without knowing of it.
        let steady = steady();
        let claim = self
            .witnesses_again()
            .and_then(|file| os::witness::claim(file, index_of(id)));
        drop(steady);
        if claim.is_some() {
            self.entry(index_of(id)).witnessed.store(1, Ordering::Release);
        }
        Ok(Reserved { id, claim })
    }

    /// Takes a free entry and fills it in.
    fn take_entry(tx: &mut Tx<'_>, parent: u32, flags: u64, name: &str, most: u64) -> Option<u32> {
        let free = tx.get(header!(table_free));
        let index = if free == 0 {
            let top = tx.get(header!(table_top));
            if top >= most {
                return None;
            }
            tx.set(header!(table_top), top + 1);
            top
        } else {
            let index = free - 1;
            tx.set(header!(table_free), tx.get(entry!(index, generation)) >> 32);
            index
        };
        let generation = (tx.get(entry!(index, generation)) & 0xffff_ffff) % GENERATIONS + 1;
        let id = id_of(index, generation);
        tx.set(entry!(index, generation), generation);
        for field in [
            entry!(index, pid),
            entry!(index, started),
            entry!(index, status),
            entry!(index, witnessed),
            entry!(index, namespace),
            entry!(index, left),
        ] {
            tx.set(field, 0);
        }
        tx.set(entry!(index, parent), u64::from(parent));
        tx.set(entry!(index, flags), flags);
        Self::write_name(tx, index, name);
        tx.set(entry!(index, state), state::RESERVED);
        tx.set(entry!(index, id), u64::from(id));
        Some(id)
    }

    /// Frees an entry that has no references any more.
    pub(in crate::heap) fn free_entry(tx: &mut Tx<'_>, index: u64) {
        let generation = tx.get(entry!(index, generation)) & 0xffff_ffff;
        tx.set(
            entry!(index, generation),
            generation | tx.get(header!(table_free)) << 32,
        );
        tx.set(header!(table_free), index + 1);
        tx.set(entry!(index, state), state::FREE);
        tx.set(entry!(index, id), 0);
    }

    /// Records that this process ends in an orderly way. Then the permits of a semaphore that it has are not given
    /// back on its behalf, as those of a killed process are. It is one store, so the end of the process waits for
    /// nothing.
    pub(crate) fn take_leave(&self) {
        if let Some(entry) = self.entry_of(self.me()) {
            entry.left.store(1, Ordering::Release);
        }
    }

    /// Returns whether the dead process `id` had recorded that it ends.
    pub(crate) fn took_leave(&self, id: u32) -> bool {
        self.entry_of(id)
            .is_some_and(|entry| entry.left.load(Ordering::Acquire) != 0)
    }

    /// Closes what this process has left open of the lock for the process `id`.
    pub(crate) fn give_up_claims_of(&self, id: u32) {
        let _steady = steady();
        os::witness::give_up_byte(index_of(id), |fd| self.is_own(fd));
    }

    /// Gives up an entry whose process was never started.
    pub(crate) fn drop_entry(&self, id: u32) -> Result<()> {
        let Some(entry) = self.entry_of(id) else {
            return Ok(());
        };
        entry.flags.store(0, Ordering::Relaxed);
        self.give_up_claims_of(id);
        if self.is_witnessed(index_of(id)) == Some(true) {
            // The process was started after all, late, and has the lock: it is cleared up after like any other.
            return Ok(());
        }
        self.clear_up(id)
    }

    /// Gives this process another name.
    pub(crate) fn rename(&self, name: &str) -> Result<()> {
        let index = index_of(self.me());
        self.transact(|tx| {
            Self::write_name(tx, index, name);
            Ok(())
        })
    }

    /// Stages the name in an entry.
    fn write_name(tx: &mut Tx<'_>, index: u64, name: &str) {
        for (i, word) in name_words(name).into_iter().enumerate() {
            tx.set(entry!(index, name) + 8 * i as u64, word);
        }
    }

    /// Returns the owner id of the process of this program that had this pid, and is dead but not yet cleared up
    /// after.
    pub(crate) fn id_of_dead(&self, pid: u32) -> Option<u32> {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        (0..top).find_map(|index| {
            let entry = self.entry(index);
            let id = entry.id.load(Ordering::Acquire) as u32;
            let dead = entry.pid.load(Ordering::Relaxed) == u64::from(pid)
                && entry.state.load(Ordering::Acquire) == state::LIVE
                && !self.alive(id);
            dead.then_some(id)
        })
    }
}

/// Returns what this process's entry tells of it: pid, start time, pid namespace.
fn what_others_see() -> [u64; 3] {
    let pid = os::pid::own();
    let started = os::pid::own_start_time().unwrap_or(os::pid::UNKNOWN_START);
    [u64::from(pid), started, os::pid::namespace()]
}

/// Returns a name as words of the table, cut at the end of a character if it is too long.
fn name_words(name: &str) -> [u64; NAME / 8] {
    let mut bytes = [0u8; NAME];
    let end = name.floor_char_boundary(NAME);
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    core::array::from_fn(|i| u64::from_ne_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes")))
}
