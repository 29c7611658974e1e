//! The heap as this process sees it: where offsets lead, and which kinds of object it holds.

use super::facts::Facts;
use super::layout::{CHUNK, HEAD, Header, Off, ProcessEntry, SharedLayout, entry_at};
use super::source::HeapFile;
use super::space::{self, Space};
use crate::error::Result;
use crate::os;
use crate::os::kept::Kept;
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;

/// A kind of object: its number, its name, and the functions that every kind has.
#[derive(Debug)]
pub(crate) struct ObjectKind {
    /// A number from 1 to 255, in every object's first byte.
    pub number: u8,
    /// What to call it in messages.
    pub name: &'static str,
    /// Repairs the object after the death of a process that had a reference to it. Arguments: the heap, the object, the
    /// owner id of the dead process, and the offset of that process's tally. If the process that runs it dies half-way,
    /// another one runs it again.
    pub on_holder_death: fn(&Heap, Off, u32, Off) -> Result<()>,
    /// Gives up what the object refers to, before its memory is freed. If the process that runs it dies
    /// half-way, another one runs it again.
    pub clear: fn(&Heap, Off) -> Result<()>,
    /// Describes an object, for inspection of the program. It only reads, under the heap's lock, and takes no other
    /// lock.
    pub describe: fn(&Heap, Off) -> Facts,
}

/// The heap as this process sees it.
#[derive(Debug)]
pub(crate) struct Heap {
    /// The address of the header.
    pub(in crate::heap) base: *mut u8,
    pub(in crate::heap) space: Space,
    pub(in crate::heap) source: HeapFile,
    /// The file on which the lives of processes are witnessed, if the heap is a System V segment and so has no file.
    pub(in crate::heap) lives: Kept,
    pub(in crate::heap) kinds: &'static [&'static ObjectKind],
}

// SAFETY: `base` points to shared memory that is only ever reached through atomics, or through blocks whose one owner
// is established by transactions; the rest is immutable or atomic.
#[allow(unsafe_code)]
unsafe impl Send for Heap {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Heap {}

pub(in crate::heap) static HEAP: OnceLock<Heap> = OnceLock::new();

impl Heap {
    /// Returns the heap, if this process has one already.
    pub(crate) fn existing() -> Option<&'static Self> {
        HEAP.get()
    }

    /// Returns the header, at the front of the heap.
    #[allow(unsafe_code)]
    pub(in crate::heap) fn header(&self) -> &Header {
        // SAFETY: the header lies at the start of the mapping, which lives as long as the program, is committed when
        // the heap is made, and consists of atomics.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// Returns the structure at `off`, and maps that part of the heap first if this process has not met it yet.
    #[inline]
    #[allow(unsafe_code)]
    fn at<T>(&self, off: Off) -> &T {
        const { assert!(size_of::<T>() as u64 <= space::MARGIN) };
        assert!(
            off.is_multiple_of(8),
            "{off} is not the offset of a structure: it must be a multiple of 8"
        );
        let at = if self.space.has(off) {
            self.near(off)
        } else {
            self.meet(off, size_of::<T>() as u64)
        };
        // SAFETY: mapped memory for this many bytes, aligned (checked); every `T` asked for in this crate consists of
        // atomics only, for which any bytes are valid. Its pages were committed before its offset was handed out.
        unsafe { &*at.cast::<T>() }
    }

    /// Returns the address of `off`, which is open in the first region.
    #[inline]
    #[allow(unsafe_code)]
    fn near(&self, off: Off) -> *mut u8 {
        // SAFETY: the callers have checked that `off` is inside the first region's mapping, which is at `base` and
        // never unmapped.
        unsafe { self.base.add(off as usize) }
    }

    /// Returns the address in this process of the `len` bytes from `off` on.
    ///
    /// A part of the heap that this process has not met before is mapped first. That fails if the process has no
    /// address space left, and then the process aborts. So callers that can report an error call
    /// [`reach`](Self::reach) first.
    #[inline]
    pub(crate) fn address(&self, off: Off, len: u64) -> *mut u8 {
        if self.space.has_all(off, len) {
            self.near(off)
        } else {
            self.meet(off, len)
        }
    }

    /// Returns the address of a part of the heap, which it maps if need be; aborts the process if that fails.
    #[cold]
    #[inline(never)]
    fn meet(&self, off: Off, len: u64) -> *mut u8 {
        self.space.open(off, len, &self.source).unwrap_or_else(|_| {
            os::memory::abort(
                "procession: this process has no address space left (RLIMIT_AS) for a part of the program's shared memory\n",
            )
        })
    }

    /// Ensures that this process can touch the `len` bytes from `off` on.
    #[inline]
    pub(crate) fn reach(&self, off: Off, len: u64) -> Result<()> {
        if self.space.has_all(off, len) {
            return Ok(());
        }
        self.space.open(off, len, &self.source).map(drop)
    }

    /// Makes pages exist for a part of the heap.
    pub(in crate::heap) fn commit_at(&self, off: Off, len: u64) -> Result<()> {
        self.reach(off, len)?;
        os::memory::commit(self.address(off, len), len, || self.source.file(), off)
    }

    /// Gives pages back to the system that only this process uses; they read as zero afterwards.
    pub(in crate::heap) fn give_up_pages(&self, off: Off, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let reached = self.reach(off, len);
        if reached.is_ok() && os::memory::remove(self.address(off, len), len).is_ok() {
            return Ok(());
        }
        // Locked memory cannot be given up by address.
        if let Some(file) = self.source.file()
            && os::memory::punch(file, off, len).is_ok()
        {
            return Ok(());
        }
        // The memory stays, and reads as zero all the same.
        reached.map(|()| self.clear(off, len))
    }

    /// Returns the 64-bit word at `off`.
    pub(crate) fn word(&self, off: Off) -> &AtomicU64 {
        self.at(off)
    }

    /// Returns the `count` 64-bit words from `off` on.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn words(&self, off: Off, count: u64) -> &[AtomicU64] {
        assert!(
            off.is_multiple_of(8),
            "{off} is not the offset of a structure: it must be a multiple of 8"
        );
        let at = self.address(off, 8 * count);
        // SAFETY: as in `at`: mapped memory for this many words, aligned (checked), and atomics only.
        unsafe { core::slice::from_raw_parts(at.cast::<AtomicU64>(), count as usize) }
    }

    /// Returns the lower half of the word at `off`, to sleep on: a transaction changes whole words, and a futex has
    /// half that size.
    pub(crate) fn futex(&self, off: Off) -> &AtomicU32 {
        const { assert!(cfg!(target_endian = "little"), "the lower half comes first") };
        self.at(off)
    }

    /// Returns the structure at `off`.
    pub(crate) fn shared<T: SharedLayout>(&self, off: Off) -> &T {
        self.at(off)
    }

    /// Returns entry `index` of the process table.
    pub(crate) fn entry(&self, index: u64) -> &ProcessEntry {
        self.at(entry_at(index))
    }

    /// Returns the program's number, which is part of every handle.
    pub(crate) fn id(&self) -> u64 {
        self.header().id.load(Ordering::Relaxed)
    }

    /// Returns the identity of the program image of the processes that start others by a function's position; 0 if
    /// nothing was started so yet.
    pub(crate) fn build(&self) -> u64 {
        self.header().build.load(Ordering::Acquire)
    }

    /// Records the identity of this process's image, if none is recorded yet. A process calls this before it sends
    /// a function's position.
    pub(crate) fn record_build(&self) -> Result<()> {
        if self.build() == 0 {
            let own = os::image::identity()?;
            // Another process may have been faster: then a child of another build says so.
            let _ = (self.header().build).compare_exchange(0, own, Ordering::AcqRel, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns this process's owner id, 0 while it has none. The id is in memory that reads as zero in every forked
    /// child, until the child is told its own id.
    #[inline]
    #[allow(clippy::unused_self, reason = "there is one heap, so one such word")]
    pub(crate) fn me(&self) -> u32 {
        os::fork::WIPED.word().load(core::sync::atomic::Ordering::Relaxed)
    }

    /// Sets this process's owner id.
    #[allow(clippy::unused_self, reason = "as above")]
    pub(in crate::heap) fn set_me(&self, id: u32) {
        os::fork::WIPED
            .word()
            .store(id, core::sync::atomic::Ordering::Relaxed);
    }

    /// Returns the most bytes that one message can have: a block of half the heap, because the first half has the
    /// header in it.
    pub(crate) fn largest(&self) -> u64 {
        let chunks = self.header().chunks.load(Ordering::Relaxed);
        (CHUNK << (chunks.ilog2() - 1)) - HEAD
    }

    /// Returns the kind of object with this number.
    pub(in crate::heap) fn kind(&self, number: u8) -> Option<&'static ObjectKind> {
        self.kinds.iter().find(|kind| kind.number == number).copied()
    }

    /// Sets `bytes` of fresh memory to zero. The caller owns it.
    #[allow(unsafe_code)]
    pub(in crate::heap) fn clear(&self, off: Off, bytes: u64) {
        // SAFETY: mapped (by `address`), committed, and owned by the caller, so no other thread reads or writes it.
        unsafe { core::ptr::write_bytes(self.address(off, bytes), 0, bytes as usize) };
    }
}
