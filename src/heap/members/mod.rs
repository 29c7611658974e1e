//! The processes of the program: their table, the references of each, and what becomes of these when a process forks or
//! dies.

pub(crate) mod block;
#[cfg(all(test, not(loom)))]
pub(crate) mod census;
mod copy;
pub(crate) mod fork;
mod head;
mod make;
pub(crate) mod object;
mod reclaim;
mod recovery;
pub(crate) mod references;
pub(crate) mod release;
mod shared_slots;
pub(crate) mod survey;
pub(crate) mod table;
