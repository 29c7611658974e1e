//! What everything else stands on: who is a process of the program, whether it lives, whose memory and descriptors these are,
//! and what waiting costs.

#[path = "../common/mod.rs"]
mod common;

mod births;
mod descriptors;
mod environments;
mod locks;
mod memory;
mod place;
mod quiet;
mod witness;
