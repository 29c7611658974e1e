//! The basis of everything else: which processes belong to the program, whether they are alive, which memory and
//! descriptors are theirs, and the cost of waiting.

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
