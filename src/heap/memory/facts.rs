//! What objects say of themselves to whoever inspects the program.

use super::layout::Off;

/// What an object says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Owner id of the process that holds it, as a lock is held; 0: nobody.
    pub holder: u32,
    /// The thread of it that does; 0: not known.
    pub thread: u32,
    /// What can be said in numbers.
    pub figures: Vec<(&'static str, u64)>,
    /// What a process has of it (owner id, and how much) that is not in that process's tally.
    pub instead: Option<(u32, i64)>,
    /// Of the record of a waiting thread: what that waits for.
    pub waits: Option<Waits>,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The thread (gettid(2)).
    pub thread: u32,
    /// The object.
    pub object: Off,
    /// What it wants of it: "lock", "get", …
    pub what: &'static str,
    /// Since when, on the monotonic clock.
    pub since: u64,
}

impl Facts {
    /// Facts that are only numbers.
    pub(crate) fn of<const N: usize>(figures: [(&'static str, u64); N]) -> Self {
        Self {
            figures: figures.into(),
            ..Self::default()
        }
    }
}
