//! Values and arrays: processes make, change, receive and drop them, and die at every step.

use super::dies_at_every_step;
use crate::bindings::{Handle, HandleKind, Region};
use crate::{Array, LockError};

/// A size that has its own block.
const LARGE: usize = 100_000;

#[test]
fn making_and_dropping_memory() {
    // The largest cell, the smallest block.
    for len in [8128, 8129] {
        dies_at_every_step(
            || (),
            |()| {
                let memory = Region::new(len).expect("memory");
                assert_eq!(memory.len(), len);
                soil(&memory);
            },
            |(), _| {
                let next = Array::<u8>::new(len).expect("memory");
                assert!(next.lock().expect("new").iter().all(|&b| b == 0));
            },
        );
    }
}

/// Overwrites all bytes with other values than zero, for the next user of this memory.
#[allow(unsafe_code)]
fn soil(memory: &Region) {
    // SAFETY: the memory was just allocated, and no other thread or process has it.
    unsafe { memory.address().write_bytes(9, memory.len()) };
}

#[test]
fn changing_under_the_lock() {
    dies_at_every_step(
        || Array::from_slice(&[1_u64; 2000]).expect("memory"),
        |array| array.lock().expect("free").fill(2),
        |array, through| {
            let told = match array.lock() {
                Ok(_) => false,
                Err(LockError::OwnerDied { guard, .. }) => {
                    assert!(guard.iter().all(|&n| n == 1 || n == 2));
                    true
                }
                Err(error) => panic!("{error}"),
            };
            assert!(!through || !told);
            let last = array.get(1999).expect("told of it once");
            assert!(last == 2 || !through);
        },
    );
}

#[test]
fn found_by_address() {
    for len in [8, LARGE] {
        dies_at_every_step(
            || Region::new(len).expect("memory"),
            |memory| {
                let address = Handle::from(memory).address();
                let found = Handle::find(address, HandleKind::Region).expect("it is there");
                drop(Region::try_from(found).expect("it is memory"));
            },
            |memory, _| {
                // Another process's reference does not keep this one's from being the last.
                let address = Handle::from(memory).address();
                assert!(Handle::find(address, HandleKind::Region).is_ok());
                assert!(Handle::find(address, HandleKind::RLock).is_err());
            },
        );
    }
}
