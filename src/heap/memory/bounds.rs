//! The regions of the heap: ranges of offsets, each of which is contiguous in a process's memory.

use super::layout::{MORE, NEAR, Off, SEGMENTS, TABLES, TABLES_END};
use crate::os::memory;

/// The number of the first region, which is the only one that most programs use.
pub(super) const FIRST: usize = 0;
/// The number of the region of the process table, without the beginning of the table.
pub(super) const TABLE: usize = SEGMENTS;
/// The number of regions: one for each segment, the process table, and one for the descriptors of each segment's chunks
/// except the first's.
pub(super) const REGIONS: usize = 2 * SEGMENTS;

/// A range of offsets that is contiguous in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) number: usize,
    pub(super) start: Off,
    pub(super) end: Off,
}

impl Bounds {
    /// Returns the bounds of the region that `off` lies in.
    pub(super) fn of(off: Off) -> Self {
        let doubling = |off: Off, first: Off, base: Off, number: usize| {
            let n = off.ilog2() - first.ilog2();
            Self {
                number: number + n as usize,
                start: base + (first << n),
                end: base + (first << (n + 1)),
            }
        };
        match off {
            ..NEAR => Self {
                number: FIRST,
                start: 0,
                end: NEAR,
            },
            NEAR..TABLES => doubling(off, NEAR, 0, FIRST + 1),
            TABLES..MORE => Self {
                number: TABLE,
                start: TABLES,
                end: TABLES_END,
            },
            MORE.. => doubling((off - MORE).max(NEAR >> 10), NEAR >> 10, MORE, TABLE + 1),
        }
    }

    /// Returns its length, halved `times` times, in whole pages.
    pub(super) fn halved(self, times: u64) -> u64 {
        let len = (self.end - self.start).checked_shr(times as u32).unwrap_or(0);
        len.next_multiple_of(memory::page())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::heap::memory::layout::{CHUNK, descriptor, entry_at};

    #[test]
    fn every_aligned_block_is_inside_one_region() {
        for order in 0..22 {
            let len = CHUNK << order;
            for off in [len, 2 * len, 3 * len, (128 << 30) - len, (256 << 30) - len] {
                let bounds = Bounds::of(off);
                if off.is_multiple_of(len) && off > 0 && off + len <= 256 << 30 {
                    assert!(
                        bounds.start <= off && off + len <= bounds.end,
                        "{off:#x} {len:#x}"
                    );
                }
            }
        }
        let ends: Vec<_> = [0, NEAR, 2 * NEAR, 128 << 30].map(Bounds::of).into();
        assert_eq!(
            ends.iter().map(|b| b.number).collect::<Vec<_>>(),
            [0, 1, 2, SEGMENTS - 1]
        );
    }

    #[test]
    fn tables_have_regions_of_their_own() {
        assert_eq!(Bounds::of(descriptor(0)).number, FIRST);
        assert_eq!(Bounds::of(entry_at(0)).number, FIRST);
        assert_eq!(Bounds::of(entry_at(32_767)).number, TABLE);
        let last = descriptor((256 << 30) / CHUNK - 1);
        assert_eq!(Bounds::of(last).number, REGIONS - 1);
        assert_eq!(Bounds::of(descriptor(NEAR / CHUNK)).number, TABLE + 1);
    }
}
