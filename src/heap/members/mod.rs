//! The processes of the program: their table, what each of them refers to, and what becomes of that when they fork or die.

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
