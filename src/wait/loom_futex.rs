//! The futex under the model checker. A sleeper wakes only when the word differs or another thread wakes it, so a
//! lost wake-up shows as a deadlock.

use super::atomic::{AtomicU32, Ordering};
use crate::os::futex::Wake;
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;

/// The threads that sleep on a word: their number, and where they sleep.
#[derive(Default)]
struct Place {
    asleep: u32,
    bed: Arc<Condvar>,
}

type Places = BTreeMap<usize, Place>;

loom::lazy_static! {
    static ref SLEEPERS: Mutex<Places> = Mutex::new(BTreeMap::new());
}

impl AtomicU32 {
    fn sleepers(&self) -> (MutexGuard<'static, Places>, usize) {
        (SLEEPERS.lock().unwrap(), core::ptr::from_ref(self) as usize)
    }

    pub(crate) fn futex_wait(&self, expected: u32, _until: u64) -> Wake {
        let (mut places, here) = self.sleepers();
        if self.load(Ordering::SeqCst) == expected {
            let place = places.entry(here).or_default();
            place.asleep += 1;
            let bed = place.bed.clone();
            drop(bed.wait(places).unwrap());
        }
        Wake::Woken
    }

    pub(crate) fn futex_wake(&self, count: u32) -> u32 {
        let (mut places, here) = self.sleepers();
        let place = places.entry(here).or_default();
        let woken = place.asleep.min(count);
        place.asleep -= woken;
        (0..woken).for_each(|_| place.bed.notify_one());
        woken
    }
}
