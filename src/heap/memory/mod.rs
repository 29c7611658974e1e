//! The memory that all processes share: its layout, its addresses, its locks and transactions, and the allocator.

mod bounds;
pub(in crate::heap) mod chunks;
mod descriptor;
pub(crate) mod facts;
pub(in crate::heap) mod heap;
pub(crate) mod layout;
pub(in crate::heap) mod limit;
pub(crate) mod locks;
mod owner_activity;
pub(in crate::heap) mod owners;
pub(crate) mod paging;
pub(in crate::heap) mod postponed;
pub(in crate::heap) mod rank;
pub(in crate::heap) mod slabs;
pub(in crate::heap) mod source;
pub(in crate::heap) mod space;
pub(crate) mod steady;
mod tables;
pub(crate) mod tx;
