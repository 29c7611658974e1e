//! Owner ids: which process one stands for, and whether that lives.

use super::heap::Heap;
use super::layout::{PROCESSES, ProcessEntry, header, state};
use crate::os;
use crate::os::pid::Activity;
use crate::wait::atomic::Ordering;
use crate::wait::robust_lock::{OWNER_BITS, OWNER_DEAD};

/// Bits of an owner id that are the entry's index; the rest, up to [`OWNER_BITS`], count its uses.
const INDEX_BITS: u32 = 15;
/// Generations run from 1 to this, so that no id is 0 or [`OWNER_DEAD`].
pub(in crate::heap) const GENERATIONS: u64 = (1 << (OWNER_BITS - INDEX_BITS)) - 2;
const _: () = assert!(PROCESSES == 1 << INDEX_BITS && (GENERATIONS << INDEX_BITS) < OWNER_DEAD as u64);

/// The entry an owner id stands for.
pub(crate) fn index_of(id: u32) -> u64 {
    u64::from(id & ((1 << INDEX_BITS) - 1))
}

pub(in crate::heap) fn id_of(index: u64, generation: u64) -> u32 {
    (generation << INDEX_BITS | index) as u32
}

/// What an entry says of its process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::heap) enum Life {
    /// It is dead, or the entry is another's.
    Over,
    /// It lives as long as somebody holds its lock.
    Witnessed,
    /// It has no lock, but a pid.
    Numbered(u32),
    /// It is not there yet, and has no lock.
    Expected,
}

impl ProcessEntry {
    /// What is known of the process `id`, whose entry this was a moment ago.
    pub(in crate::heap) fn life(&self, id: u32) -> Life {
        // The state before anything else: what an adoption changes besides is read behind it.
        let state = self.state.load(Ordering::Acquire);
        if matches!(state, state::FREE | state::GONE) || self.id.load(Ordering::Acquire) != u64::from(id) {
            Life::Over
        } else if self.witnessed.load(Ordering::Acquire) != 0 {
            Life::Witnessed
        } else {
            self.life_by_number()
        }
    }

    /// The same where nobody can be asked about a lock.
    fn life_by_number(&self) -> Life {
        match self.pid.load(Ordering::Acquire) as u32 {
            0 => Life::Expected,
            pid => Life::Numbered(pid),
        }
    }
}

impl Heap {
    /// Index of this process's entry.
    pub(in crate::heap) fn my_entry(&self) -> u64 {
        index_of(self.me())
    }

    /// The entry of `id`, if it is still that process's.
    pub(crate) fn entry_of(&self, id: u32) -> Option<&ProcessEntry> {
        let index = index_of(id);
        if id == 0 || id == OWNER_DEAD || index >= self.word(header!(table_top)).load(Ordering::Acquire) {
            return None;
        }
        let entry = self.entry(index);
        (entry.id.load(Ordering::Acquire) == u64::from(id)).then_some(entry)
    }

    /// Whether the process with this owner id lives. Costs a system call or two: for slow paths.
    ///
    /// The answer is that of its [witness](crate::os::witness) where it has one and this process can ask. Otherwise it is what is
    /// known from pid and start time; whoever cannot be told apart from the living, lives.
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
        // Not there, or not far enough to say so: as alive as who may start it.
        let parent = entry.parent.load(Ordering::Relaxed) as u32;
        parent != id && self.alive(parent)
    }

    /// Whether the table says more of the child `id`'s life than that its parent expects it.
    pub(crate) fn knows_of(&self, id: u32) -> bool {
        self.entry_of(id)
            .is_none_or(|entry| entry.life(id) != Life::Expected)
    }

    /// Whether the witness of entry `index` is there; `None` where this process cannot ask.
    pub(in crate::heap) fn is_witnessed(&self, index: u64) -> Option<bool> {
        os::witness::is_held(self.witnesses()?, index)
    }

    /// What pid and start time say of a process without a witness.
    fn seems_alive(&self, entry: &ProcessEntry, pid: u32) -> bool {
        let here = self.entry(index_of(self.me())).namespace.load(Ordering::Relaxed);
        // A number of another namespace means nothing here.
        if entry.namespace.load(Ordering::Acquire) != here {
            return true;
        }
        os::pid::seems_alive(pid, entry.started.load(Ordering::Acquire))
    }

    /// What the process with this owner id is doing.
    pub(crate) fn activity(&self, id: u32) -> Activity {
        let here = self.entry(index_of(self.me())).namespace.load(Ordering::Relaxed);
        match self.entry_of(id) {
            Some(entry) if entry.namespace.load(Ordering::Acquire) == here => {
                os::pid::activity(entry.pid.load(Ordering::Acquire) as u32)
            }
            _ => Activity::Unknown,
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

    /// The pid in an entry, 0 if there is none.
    pub(crate) fn pid_of(&self, id: u32) -> u32 {
        self.entry_of(id)
            .map_or(0, |entry| entry.pid.load(Ordering::Relaxed) as u32)
    }
}
