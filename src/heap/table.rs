//! The process table: who belongs to the program, and whether they live.

use super::Heap;
use super::layout::{Entry, NAME, PROCESSES, TABLE, entry, entry_at, header, state};
use super::tx::Tx;
use crate::error::{Error, Result};
use crate::os;
use crate::wait::atomic::Ordering;
use crate::wait::latch::{ORPHAN, OWNER_BITS};

/// Bits of an owner id that are the entry's index; the rest, up to [`OWNER_BITS`], count its uses.
const INDEX_BITS: u32 = 15;
/// Generations run from 1 to this, so that no id is 0 or [`ORPHAN`].
const GENERATIONS: u64 = (1 << (OWNER_BITS - INDEX_BITS)) - 2;
const _: () = assert!(PROCESSES == 1 << INDEX_BITS && (GENERATIONS << INDEX_BITS) < ORPHAN as u64);

/// The process is a daemon.
pub(crate) const DAEMON: u64 = 1;
/// Its parent has a handle and will ask how it ended.
pub(crate) const WANTED: u64 = 2;
/// It was born of another process than the one that asked for it, which collects its exit status.
pub(crate) const FOSTERED: u64 = 4;

/// The entry an owner id stands for.
pub(crate) fn index_of(id: u32) -> u64 {
    u64::from(id & ((1 << INDEX_BITS) - 1))
}

fn id_of(index: u64, generation: u64) -> u32 {
    (generation << INDEX_BITS | index) as u32
}

impl Heap {
    /// The entry of `id`, if it is still that process's.
    pub(crate) fn entry_of(&self, id: u32) -> Option<&Entry> {
        let index = index_of(id);
        if id == 0 || id == ORPHAN || index >= self.word(header!(table_top)).load(Ordering::Acquire) {
            return None;
        }
        let entry = self.entry(index);
        (entry.id.load(Ordering::Acquire) == u64::from(id)).then_some(entry)
    }

    /// Whether the process with this owner id lives. Costs a few system calls: for slow paths.
    pub(crate) fn alive(&self, id: u32) -> bool {
        if id == self.me() {
            return true;
        }
        let Some(entry) = self.entry_of(id) else {
            return false;
        };
        let (pid, started) = (
            entry.pid.load(Ordering::Acquire) as u32,
            entry.started.load(Ordering::Acquire),
        );
        match entry.state.load(Ordering::Acquire) {
            state::LIVE => os::pid::alive(pid, started),
            // Not started, or not far enough to say so: as alive as what is known of it.
            state::EMBRYO if pid != 0 => os::pid::alive(pid, started),
            state::EMBRYO => {
                let parent = entry.parent.load(Ordering::Relaxed) as u32;
                parent == self.me() || (parent != id && self.alive(parent))
            }
            _ => false,
        }
    }

    /// Enters the first process of the program.
    pub(super) fn register_first(&self) -> Result<()> {
        // It needs an owner id to take the latch for the first time; nobody else sees the heap yet.
        self.set_me(id_of(0, 1));
        let id = self.new_entry(0, 0, "main")?;
        debug_assert_eq!(id, self.me());
        self.settle_in(id)
    }

    /// This process takes over the entry `id`, which its parent made.
    pub(crate) fn settle_in(&self, id: u32) -> Result<()> {
        self.set_me(id);
        let pid = os::pid::own();
        let started = os::pid::start_time(pid).unwrap_or(0);
        let index = index_of(id);
        self.transact(|tx| {
            tx.set(entry!(index, pid), u64::from(pid));
            tx.set(entry!(index, started), started);
            tx.set(entry!(index, state), state::LIVE);
            Ok(())
        })
    }

    /// A new entry, unborn, with `parent` as its parent. Also looks whether some dead process has been forgotten.
    pub(crate) fn new_entry(&self, parent: u32, flags: u64, name: &str) -> Result<u32> {
        self.look_after_the_dead();
        match self.new_entry_quickly(parent, flags, name) {
            Err(Error::TooManyProcesses { .. }) if self.clear_up_all_dead() => {
                self.new_entry_quickly(parent, flags, name)
            }
            answer => answer,
        }
    }

    /// The same without looking after anybody, for a fork, which must not wait for other latches than the heap's.
    pub(super) fn new_entry_quickly(&self, parent: u32, flags: u64, name: &str) -> Result<u32> {
        let top = self.word(header!(table_top)).load(Ordering::Acquire);
        self.extend_table(TABLE, entry_at((top + 64).min(PROCESSES)), header!(tabled))?;
        self.transact(|tx| {
            Self::take_entry(tx, parent, flags, name).ok_or(Error::TooManyProcesses { max: PROCESSES })
        })
    }

    fn take_entry(tx: &mut Tx<'_>, parent: u32, flags: u64, name: &str) -> Option<u32> {
        let free = tx.get(header!(table_free));
        let index = if free == 0 {
            let top = tx.get(header!(table_top));
            if top >= PROCESSES {
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
            entry!(index, holds),
        ] {
            tx.set(field, 0);
        }
        tx.set(entry!(index, parent), u64::from(parent));
        tx.set(entry!(index, flags), flags);
        Self::write_name(tx, index, name);
        tx.set(entry!(index, state), state::EMBRYO);
        tx.set(entry!(index, id), u64::from(id));
        Some(id)
    }

    /// Frees an entry that holds nothing any more.
    pub(super) fn free_entry(tx: &mut Tx<'_>, index: u64) {
        let generation = tx.get(entry!(index, generation)) & 0xffff_ffff;
        tx.set(
            entry!(index, generation),
            generation | tx.get(header!(table_free)) << 32,
        );
        tx.set(header!(table_free), index + 1);
        tx.set(entry!(index, state), state::FREE);
        tx.set(entry!(index, id), 0);
    }

    /// Gives up an entry whose process was never born.
    pub(crate) fn drop_entry(&self, id: u32) -> Result<()> {
        self.entry(index_of(id)).flags.store(0, Ordering::Relaxed);
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

    fn write_name(tx: &mut Tx<'_>, index: u64, name: &str) {
        for (i, word) in name_words(name).into_iter().enumerate() {
            tx.set(entry!(index, name) + 8 * i as u64, word);
        }
    }

    /// The name in an entry.
    pub(crate) fn name_of(&self, id: u32) -> String {
        let Some(entry) = self.entry_of(id) else {
            return String::new();
        };
        let bytes: Vec<u8> = entry
            .name
            .iter()
            .flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes())
            .collect();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
    }

    /// Who of the program had this pid and is dead, not yet cleared up.
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

    /// The pid in an entry, 0 if there is none.
    pub(crate) fn pid_of(&self, id: u32) -> u32 {
        self.entry_of(id)
            .map_or(0, |entry| entry.pid.load(Ordering::Relaxed) as u32)
    }
}

/// A name as words of the table, cut at a character's end where it is too long.
fn name_words(name: &str) -> [u64; NAME / 8] {
    let mut bytes = [0u8; NAME];
    let end = name.floor_char_boundary(NAME);
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    core::array::from_fn(|i| u64::from_ne_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes")))
}
