//! Ready sets: a thread that waits for several objects sleeps on one, and finds in it the numbers of those that have
//! changed.

use crate::error::Result;
use crate::heap::Heap;
use crate::heap::members::object::Object;
use crate::heap::memory::facts::Facts;
use crate::heap::memory::heap::ObjectKind;
use crate::heap::memory::layout::{Head, Off, SharedLayout};
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::EventCount;

/// Words of bits in a ready set.
const WORDS: usize = 64;
/// The count of numbers that a ready set can tell apart; a number counts modulo this.
pub(crate) const NUMBERS: usize = 64 * WORDS;
#[repr(C, align(64))]
pub(super) struct ReadySetLayout {
    head: Head,
    pub(super) event_count: EventCount,
    _pad: u32,
    /// Which words of `bits` are not zero.
    summary: AtomicU64,
    bits: [AtomicU64; WORDS],
}

// SAFETY: repr(C), atomics (an event count is one) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for ReadySetLayout {}

/// The kind of every ready set.
pub(crate) const READY_SET: ObjectKind = ObjectKind {
    number: 12,
    // The name by which a user knows it.
    name: "selector",
    on_holder_death: |_, _, _, _| Ok(()),
    clear: |_, _| Ok(()),
    describe: |_, _| Facts::default(),
};

impl ReadySetLayout {
    /// Sets a number.
    pub(super) fn set(&self, number: u64) {
        let number = number as usize % NUMBERS;
        self.bits[number / 64].fetch_or(1 << (number % 64), Ordering::AcqRel);
        self.summary.fetch_or(1 << (number / 64), Ordering::SeqCst);
    }
}

/// A handle to a ready set.
#[derive(Clone, Debug)]
pub(crate) struct ReadySet {
    pub(super) heap: &'static Heap,
    object: Object,
}

impl ReadySet {
    /// Makes a ready set.
    pub(crate) fn new(heap: &'static Heap) -> Result<Self> {
        let object = heap.make_object(&READY_SET, size_of::<ReadySetLayout>() as u64, 0)?;
        Ok(Self { heap, object })
    }

    /// Returns its offset, which inspection shows as what the thread waits for.
    pub(crate) fn off(&self) -> Off {
        self.object.off()
    }

    /// Returns its words.
    fn shared(&self) -> &ReadySetLayout {
        self.heap.shared(self.object.off())
    }

    /// Returns the event count on which a thread sleeps until a number is set.
    pub(crate) fn event_count(&self) -> &EventCount {
        &self.shared().event_count
    }

    /// Returns whether a number was set since the numbers were last taken.
    pub(crate) fn is_rung(&self) -> bool {
        self.shared().summary.load(Ordering::Acquire) != 0
    }

    /// Calls `each` with the numbers that were set since this was last called.
    pub(crate) fn take(&self, mut each: impl FnMut(usize)) {
        let shared = self.shared();
        let mut summary = match shared.summary.load(Ordering::Relaxed) {
            0 => return,
            _ => shared.summary.swap(0, Ordering::AcqRel),
        };
        while summary != 0 {
            let word = summary.trailing_zeros() as usize;
            summary &= summary - 1;
            let mut bits = shared.bits[word].swap(0, Ordering::AcqRel);
            while bits != 0 {
                each(64 * word + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}
