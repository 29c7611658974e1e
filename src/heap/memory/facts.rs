//! What is known of an object when the program is inspected.

use super::layout::Off;

/// The description of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Owner id of the process that holds the object as one holds a lock; 0: none.
    pub holder: u32,
    /// The thread of that process that holds it; 0: not known.
    pub thread: u32,
    /// Named numbers.
    pub figures: Vec<(&'static str, u64)>,
    /// A process (its owner id) and its share of the object, if that is not in the process's tally.
    pub instead: Option<(u32, i64)>,
    /// What the thread waits for, if the object is the record of a waiting thread.
    pub waits: Option<Waits>,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The thread (gettid(2)).
    pub thread: u32,
    /// The object.
    pub object: Off,
    /// What the thread waits to do: "lock", "get", …
    pub what: &'static str,
    /// When the wait began, on the monotonic clock.
    pub since: u64,
}

impl Facts {
    /// Returns facts that are only numbers.
    pub(crate) fn of<const N: usize>(figures: [(&'static str, u64); N]) -> Self {
        Self {
            figures: figures.into(),
            ..Self::default()
        }
    }
}
