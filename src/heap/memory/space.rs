//! The addresses of the heap in this process: it is mapped in steps, and only what is in use can be touched.
//!
//! Offsets are the same in every process; addresses are not. The heap consists of *regions*, each of which is
//! contiguous in memory: the first half GiB, then each doubling, and the tables that belong to each.
//!
//! 1. A region's addresses are reserved when this process first meets an offset in it.
//! 2. They are opened from the region's beginning on, in steps, when the process first meets an offset after what is
//!    open.
//!
//! Blocks lie at multiples of their size, so each is inside one region.
//!
//! Threads may map at the same time, and a process may be forked in the middle: each step can be repeated, and a step
//! that is lost costs only addresses. A lock is needed only to lengthen a reservation that turned out too short
//! (`RLIMIT_AS`): of two threads that lengthened at once, each would be refused the addresses that the other has got.

use super::bounds::{Bounds, FIRST, REGIONS};
use super::layout::{MORE, NEAR, Off, TABLES};
use super::source::HeapFile;
use crate::error::{Error, Result};
use crate::os::memory;
use core::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// The first step of opening; each step is a multiple of this.
const STEP: u64 = 1 << 20;
/// The longest that a structure may be.
pub(in crate::heap) const MARGIN: u64 = 64 << 10;
/// The longest step, except for a block that is longer.
const STRIDE: u64 = 64 << 20;

/// A region as far as this process has mapped it. Each field is set once, or grows.
#[derive(Debug)]
struct MappedRegion {
    /// The address of the region, set before any part of it is open.
    base: AtomicPtr<u8>,
    /// Bytes from its start that can be touched, and the same less [`MARGIN`] (0 before that much is open).
    opened: AtomicU64,
    within: AtomicU64,
    /// The reservation: its address and, in the bits that the address of a page leaves free, the number of times that
    /// the region's length was halved to get it. They are one word, so that neither is seen without the other.
    reserved: AtomicU64,
    /// The length of a reservation that was lengthened.
    lengthened: AtomicU64,
}

/// The bits of a reservation that count halvings.
const HALVINGS: u64 = 0xfff;

impl MappedRegion {
    /// Returns a region of which nothing is mapped.
    const fn unknown() -> Self {
        Self {
            base: AtomicPtr::new(null_mut()),
            opened: AtomicU64::new(0),
            within: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            lengthened: AtomicU64::new(0),
        }
    }

    /// Returns the address of `len` bytes from `at` on, if that much is open.
    #[allow(unsafe_code)]
    fn look(&self, at: u64, len: u64) -> Option<*mut u8> {
        let opened = self.opened.load(Ordering::Acquire);
        // `at` may be anything.
        if len <= opened && at <= opened - len {
            // SAFETY: the region's mapping is as long as it is open, and is never given up.
            return Some(unsafe { self.base.load(Ordering::Relaxed).add(at as usize) });
        }
        None
    }
}

/// The heap's addresses in this process.
#[derive(Debug)]
pub(in crate::heap) struct Space {
    regions: [MappedRegion; REGIONS],
    /// The end of the chunks, and the end of the tables.
    end: AtomicU64,
    tables_end: AtomicU64,
    /// Whether a thread is lengthening a region.
    lengthening: AtomicBool,
}

impl Space {
    /// Returns an address space in which nothing is mapped yet.
    pub(in crate::heap) const fn new() -> Self {
        Self {
            regions: [const { MappedRegion::unknown() }; REGIONS],
            end: AtomicU64::new(NEAR),
            tables_end: AtomicU64::new(MORE),
            lengthening: AtomicBool::new(false),
        }
    }

    /// Sets the size of the heap.
    pub(in crate::heap) fn limit(&self, end: Off, tables_end: Off) {
        self.end.store(end, Ordering::Relaxed);
        self.tables_end.store(tables_end, Ordering::Relaxed);
    }

    /// Returns whether at least [`MARGIN`] bytes from `off` on, in the first region, are open in this process: one
    /// comparison, whatever `off` is.
    ///
    /// That the pages are there needs no ordering: the kernel opened them for all threads before the number grew.
    #[inline]
    pub(in crate::heap) fn has(&self, off: Off) -> bool {
        off < self.regions[FIRST].within.load(Ordering::Relaxed)
    }

    /// Returns whether the `len` bytes from `off` on, in the first region, are open in this process.
    #[inline]
    pub(in crate::heap) fn has_all(&self, off: Off, len: u64) -> bool {
        let opened = self.regions[FIRST].opened.load(Ordering::Relaxed);
        len <= opened && off <= opened - len
    }

    /// Returns the address of a range, which it maps and opens if need be.
    ///
    /// Fails with `OutOfMemory` if the limit on the address space of this process (`RLIMIT_AS`) does not permit
    /// that.
    #[inline(never)]
    pub(in crate::heap) fn open(&self, off: Off, len: u64, source: &HeapFile) -> Result<*mut u8> {
        let bounds = self.bounds(off, len);
        let region = &self.regions[bounds.number];
        let at = off - bounds.start;
        let need = at + len;
        if let Some(place) = region.look(at, len) {
            return Ok(place);
        }
        let full = || Error::OutOfMemory { requested: len };
        let (base, reserved) = match region.reserved.load(Ordering::Acquire) {
            0 => self.reserve(region, bounds, need, source)?,
            word => reservation(word, bounds),
        };
        // Every thread stores the same.
        region.base.store(base, Ordering::Relaxed);
        let opened = region.opened.load(Ordering::Acquire);
        if opened < (need + MARGIN).min(bounds.halved(0)) {
            let reserved = self
                .at_least(need, region, base, reserved, bounds)
                .ok_or_else(full)?;
            let step = opened.clamp(STEP, STRIDE);
            // With the margin, so that the next access needs no more than a comparison, except at the region's end.
            let want = (need + MARGIN)
                .max(opened + step)
                .next_multiple_of(STEP)
                .min(reserved);
            // From the end of what is known to be open: another thread may be ahead, and opening again changes nothing.
            memory::open(Self::place(base, opened), want - opened).map_err(|_| full())?;
            region.opened.fetch_max(want, Ordering::AcqRel);
            region
                .within
                .fetch_max(want.saturating_sub(MARGIN), Ordering::AcqRel);
        }
        Ok(Self::place(base, at))
    }

    /// Returns the region of a range, as far as the heap goes.
    ///
    /// # Panics
    ///
    /// If the range is not inside one region of the heap, and so was never a range of it.
    fn bounds(&self, off: Off, len: u64) -> Bounds {
        let bounds = Bounds::of(off);
        let end = if off < TABLES { &self.end } else { &self.tables_end };
        let end = bounds.end.min(end.load(Ordering::Relaxed));
        assert!(
            off >= bounds.start && off < end && len <= end - off,
            "{len} bytes at offset {off} are outside the heap"
        );
        // The first region is reserved before the size of the heap is known.
        if bounds.number == FIRST {
            bounds
        } else {
            Bounds { end, ..bounds }
        }
    }

    /// Returns the address of byte `at` of a region.
    #[allow(unsafe_code)]
    fn place(base: *mut u8, at: u64) -> *mut u8 {
        // SAFETY: within the addresses reserved from `base` on, as the callers have seen.
        unsafe { base.add(at as usize) }
    }

    /// Reserves the addresses of a region: all of them, or as many as the limit permits, but at least `need`.
    fn reserve(
        &self,
        region: &MappedRegion,
        bounds: Bounds,
        need: u64,
        source: &HeapFile,
    ) -> Result<(*mut u8, u64)> {
        // The rest of the limit is for the program itself.
        let most = memory::address_limit().map_or(u64::MAX, |limit| limit / 4);
        let first = self.regions[FIRST].base.load(Ordering::Acquire);
        let mut halvings = 0;
        let base = loop {
            let (len, less) = (bounds.halved(halvings), bounds.halved(halvings + 1));
            let may_be_less = less >= need && less < len;
            if len <= most || !may_be_less {
                match source.reserve(first, bounds.start, len) {
                    Ok(base) => break base,
                    Err(_) if may_be_less => {}
                    Err(_) => return Err(Error::OutOfMemory { requested: need }),
                }
            }
            halvings += 1;
        };
        let word = base.expose_provenance() as u64 | halvings;
        match region
            .reserved
            .compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Ok((base, bounds.halved(halvings))),
            Err(others) => {
                memory::unmap(base, bounds.halved(halvings));
                Ok(reservation(others, bounds))
            }
        }
    }

    /// Returns the length of a reservation, lengthened to `need` if need be; `None` if it cannot be lengthened.
    fn at_least(
        &self,
        need: u64,
        region: &MappedRegion,
        base: *mut u8,
        reserved: u64,
        bounds: Bounds,
    ) -> Option<u64> {
        let so_far = || reserved.max(region.lengthened.load(Ordering::Acquire));
        if so_far() >= need {
            return Some(so_far());
        }
        let _turn = self.take_turn();
        let reserved = so_far();
        if reserved >= need {
            return Some(reserved);
        }
        // Other threads know the addresses, so these cannot move: only those right after them can be added.
        let want = need.next_multiple_of(STEP).min(bounds.halved(0));
        if !memory::lengthen(base, reserved, want) {
            return None;
        }
        region.lengthened.store(want, Ordering::Release);
        Some(want)
    }

    /// Waits until no other thread lengthens a region. Lengthening takes one system call.
    fn take_turn(&self) -> Turn<'_> {
        while self.lengthening.swap(true, Ordering::Acquire) {
            std::thread::sleep(Duration::from_micros(50));
        }
        Turn(&self.lengthening)
    }

    /// Frees the turn in a forked child, which does not have the thread that may have been lengthening a region.
    pub(in crate::heap) fn forked(&self) {
        self.lengthening.store(false, Ordering::Relaxed);
    }
}

/// While it exists, no other thread lengthens a region.
struct Turn<'s>(&'s AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Returns address and length of a reservation.
fn reservation(word: u64, bounds: Bounds) -> (*mut u8, u64) {
    let base = core::ptr::with_exposed_provenance_mut((word & !HALVINGS) as usize);
    (base, bounds.halved(word & HALVINGS))
}

#[cfg(all(test, not(loom)))]
mod tests;
