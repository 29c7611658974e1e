//! Counts the references of an entry, for tests.

use super::page::{BUMP, FREE, NEXT, PAGE_SLOTS, USED, concern, page_at};
use super::slot::Slot;
use crate::heap::Heap;
use crate::heap::memory::layout::{FREEING, entry};

impl Heap {
    /// Counts the references of an entry, and panics if its lists contradict its pages. No other thread may be at
    /// work.
    pub(in crate::heap) fn count_references(&self, entry: u64) -> u64 {
        self.transact(|tx| {
            let end = tx.get(entry!(entry, hold_pages));
            let (mut all, mut with_room) = (0, 0);
            for page in 0..end {
                let at = page_at(tx, entry, page);
                assert!(at != 0 || page + 1 < end, "the last page is missing");
                assert!(
                    at != 0 || page >= tx.get(entry!(entry, hold_hint)),
                    "a number below the hint is free"
                );
                if at == 0 {
                    continue;
                }
                if let Some(borrowed) = self.count_borrowed(tx, at) {
                    all += borrowed;
                    continue;
                }
                let bump = tx.get(at + BUMP);
                let slots = (0..bump).map(|place| Slot::in_page(entry, page * PAGE_SLOTS + place, at));
                let used = slots.filter(|slot| slot.held(tx) != 0).count() as u64;
                assert_eq!(used, tx.get(at + USED), "slots in use are counted");
                let (mut free, mut next) = (0, tx.get(at + FREE));
                while next != 0 {
                    free += 1;
                    assert!(free <= bump, "a list runs in a circle");
                    next = tx.get(Slot::in_page(entry, next - 1, at).at) >> 1;
                }
                assert_eq!(free, bump - used, "free slots are listed");
                all += used;
                with_room += u64::from(used < PAGE_SLOTS && !concern(tx, at));
            }
            let mut listed = 0;
            let mut next = tx.get(entry!(entry, hold_room));
            while next != 0 {
                listed += 1;
                assert!(listed <= with_room, "a list runs in a circle");
                next = tx.get(page_at(tx, entry, next - 1) + NEXT);
            }
            assert_eq!(listed, with_room, "pages with room are listed");
            for i in 0..FREEING as u64 {
                assert_eq!(
                    tx.get(Self::reserved(entry, i).at),
                    0,
                    "something is left half freed"
                );
            }
            Ok(all)
        })
        .expect("nobody is stopped")
    }
}
