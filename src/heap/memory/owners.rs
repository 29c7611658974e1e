//! Owner ids: which process an id stands for, and whether that process lives.

use super::heap::Heap;
use super::layout::{PROCESSES, ProcessEntry, header, state};
use crate::os;
use crate::os::pid::Activity;
use crate::wait::atomic::Ordering;
use crate::wait::robust_lock::{OWNER_BITS, OWNER_DEAD};

/// The bits of an owner id that are the index of the entry. The rest, up to [`OWNER_BITS`], count the uses of the
/// entry.
const INDEX_BITS: u32 = 15;
/// Generations run from 1 to this, so that no id is 0 or [`OWNER_DEAD`].
pub(in crate::heap) const GENERATIONS: u64 = (1 << (OWNER_BITS - INDEX_BITS)) - 2;
const _: () = assert!(PROCESSES == 1 << INDEX_BITS && (GENERATIONS << INDEX_BITS) < OWNER_DEAD as u64);

/// Returns the index of the entry that an owner id stands for.
pub(crate) fn index_of(id: u32) -> u64 {
    u64::from(id & ((1 << INDEX_BITS) - 1))
}

/// Returns the owner id of an entry in its use number `generation`.
pub(in crate::heap) fn id_of(index: u64, generation: u64) -> u32 {
    (generation << INDEX_BITS | index) as u32
}

/// What an entry tells of the life of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::heap) enum Life {
    /// The process is dead, or the entry is another process's.
    Over,
    /// The process lives as long as its witness, a file lock, is held.
    Witnessed,
    /// The process has no witness, but a pid.
    Numbered(u32),
    /// The process is not there yet, and has no witness.
    Expected,
}

impl ProcessEntry {
    /// Returns what is known of the life of the process `id`, whose entry this was a moment ago.
    pub(in crate::heap) fn life(&self, id: u32) -> Life {
        // The state is read first: the other words that an adoption changes are read after it.
        let state = self.state.load(Ordering::Acquire);
        if matches!(state, state::FREE | state::GONE) || self.id.load(Ordering::Acquire) != u64::from(id) {
            Life::Over
        } else if self.witnessed.load(Ordering::Acquire) != 0 {
            Life::Witnessed
        } else {
            self.life_by_number()
        }
    }

    /// Returns what is known of a process whose witness cannot be asked for.
    fn life_by_number(&self) -> Life {
        match self.pid.load(Ordering::Acquire) as u32 {
            0 => Life::Expected,
            pid => Life::Numbered(pid),
        }
    }
}

impl Heap {
    /// Returns the index of this process's entry.
    pub(in crate::heap) fn my_entry(&self) -> u64 {
        index_of(self.me())
    }

    /// Returns the entry of the process `id`, if it is still that process's.
    pub(crate) fn entry_of(&self, id: u32) -> Option<&ProcessEntry> {
        let index = index_of(id);
        if id == 0 || id == OWNER_DEAD || index >= self.word(header!(table_top)).load(Ordering::Acquire) {
            return None;
        }
        let entry = self.entry(index);
        (entry.id.load(Ordering::Acquire) == u64::from(id)).then_some(entry)
    }

    /// Returns whether the process with this owner id lives. Costs a system call or two, so it is for slow paths.
    ///
    /// The [witness](crate::os::witness) answers, if the process has one and this process can ask for it. Otherwise
    /// pid and start time do; a process that cannot be told apart from a living one counts as alive.
    pub(crate) fn alive(&self, id: u32) -> bool {
        if id != 0 && id == self.me() {
            return true;
        }
        let Some(entry) = self.entry_of(id) else {
            return false;
        };
        let life = match entry.life(id) {
            Life::Over => return false,
            Life::Witnessed => match self.is_witnessed(index_of(id)) {
                Some(held) => return held,
                None => entry.life_by_number(),
            },
            life => life,
        };
        if let Life::Numbered(pid) = life {
            return self.seems_alive(entry, pid);
        }
        // Not started yet, or not far enough to have a pid: as alive as the parent, which may still start it.
        let parent = entry.parent.load(Ordering::Relaxed) as u32;
        parent != id && self.alive(parent)
    }

    /// Returns whether the table says more of the child `id`'s life than that its parent expects it.
    pub(crate) fn knows_of(&self, id: u32) -> bool {
        self.entry_of(id)
            .is_none_or(|entry| entry.life(id) != Life::Expected)
    }

    /// Returns whether the witness of entry `index` is held; `None` if this process cannot ask.
    pub(in crate::heap) fn is_witnessed(&self, index: u64) -> Option<bool> {
        os::witness::is_held(self.witnesses()?, index)
    }

    /// Returns whether a process without a witness is alive, judged by pid and start time.
    fn seems_alive(&self, entry: &ProcessEntry, pid: u32) -> bool {
        let here = self.entry(index_of(self.me())).namespace.load(Ordering::Relaxed);
        // A pid of another namespace means nothing here.
        if entry.namespace.load(Ordering::Acquire) != here {
            return true;
        }
        os::pid::seems_alive(pid, entry.started.load(Ordering::Acquire))
    }

    /// Returns what the process with this owner id is doing.
    pub(crate) fn activity(&self, id: u32) -> Activity {
        let here = self.entry(index_of(self.me())).namespace.load(Ordering::Relaxed);
        match self.entry_of(id) {
            Some(entry) if entry.namespace.load(Ordering::Acquire) == here => {
                os::pid::activity(entry.pid.load(Ordering::Acquire) as u32)
            }
            _ => Activity::Unknown,
        }
    }

    /// Returns the name in the entry of the process `id`, empty if it has none.
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

    /// Returns the pid in the entry of the process `id`, 0 if there is none.
    pub(crate) fn pid_of(&self, id: u32) -> u32 {
        self.entry_of(id)
            .map_or(0, |entry| entry.pid.load(Ordering::Relaxed) as u32)
    }
}
