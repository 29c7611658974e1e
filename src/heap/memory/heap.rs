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

/// What an object's kind must be able to do.
#[derive(Debug)]
pub(crate) struct ObjectKind {
    /// A number from 1 to 255, in every object's first byte.
    pub number: u8,
    /// What to call it in messages.
    pub name: &'static str,
    /// Repairs the object after the death of a process that held it; the last argument is where that process's tally on
    /// it is. May be run again after a death half-way.
    pub on_holder_death: fn(&Heap, Off, u32, Off) -> Result<()>,
    /// Gives up what the object refers to, before its memory is freed. May be run again after a death half-way.
    pub clear: fn(&Heap, Off) -> Result<()>,
    /// What an object says of itself to whoever inspects the program. It reads, under the heap's latch, and takes no other.
    pub describe: fn(&Heap, Off) -> Facts,
}

/// The heap as this process sees it.
#[derive(Debug)]
pub(crate) struct Heap {
    /// Where its header is.
    pub(in crate::heap) base: *mut u8,
    pub(in crate::heap) space: Space,
    pub(in crate::heap) source: HeapFile,
    /// The file on which processes' lives are witnessed, where the heap is none.
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
    /// The heap, if this process has one already.
    pub(crate) fn existing() -> Option<&'static Self> {
        HEAP.get()
    }

    #[allow(unsafe_code)]
    pub(in crate::heap) fn header(&self) -> &Header {
        // SAFETY: the header lies at the start of the mapping, which lives as long as the program, is committed when the
        // heap is made, and consists of atomics.
        unsafe { &*self.base.cast::<Header>() }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn at<T>(&self, off: Off) -> &T {
        const { assert!(size_of::<T>() as u64 <= space::MARGIN) };
        assert!(off.is_multiple_of(8), "offset {off} is not one");
        let at = if self.space.has(off) {
            self.near(off)
        } else {
            self.meet(off, size_of::<T>() as u64)
        };
        // SAFETY: mapped memory for so many bytes, aligned (checked); every `T` asked for in this crate consists of atomics
        // only, for which any bytes are valid. Memory behind it was committed before its offset was handed out.
        unsafe { &*at.cast::<T>() }
    }

    /// Where `off` is, which is open in the first region.
    #[inline]
    #[allow(unsafe_code)]
    fn near(&self, off: Off) -> *mut u8 {
        // SAFETY: the callers have seen that it is inside the first region's mapping, which is at `base` and never given up.
        unsafe { self.base.add(off as usize) }
    }

    /// Where the `len` bytes from `off` on are in this process.
    ///
    /// What lies where this process has not been before is mapped first. That can fail for want of address space, and then the
    /// program is aborted: so [`reach`](Self::reach) goes before, where somebody can be told.
    #[inline]
    pub(crate) fn address(&self, off: Off, len: u64) -> *mut u8 {
        if self.space.has_all(off, len) {
            self.near(off)
        } else {
            self.meet(off, len)
        }
    }

    #[cold]
    #[inline(never)]
    fn meet(&self, off: Off, len: u64) -> *mut u8 {
        self.space.open(off, len, &self.source).unwrap_or_else(|_| {
            os::memory::abort(
                "procession: this process has no address space left (RLIMIT_AS) for a part of the program's shared memory\n",
            )
        })
    }

    /// Sees to it that the `len` bytes from `off` on can be touched by this process.
    #[inline]
    pub(crate) fn reach(&self, off: Off, len: u64) -> Result<()> {
        if self.space.has_all(off, len) {
            return Ok(());
        }
        self.space.open(off, len, &self.source).map(drop)
    }

    /// Makes memory exist.
    pub(in crate::heap) fn commit_at(&self, off: Off, len: u64) -> Result<()> {
        self.reach(off, len)?;
        os::memory::commit(self.address(off, len), len, || self.source.file(), off)
    }

    /// Gives memory back to the system that this process alone has, and that reads as zero afterwards.
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
        // It stays, but is as it would be.
        reached.map(|()| self.clear(off, len))
    }

    /// The 64-bit word at `off`.
    pub(crate) fn word(&self, off: Off) -> &AtomicU64 {
        self.at(off)
    }

    /// Returns the `count` 64-bit words from `off` on.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn words(&self, off: Off, count: u64) -> &[AtomicU64] {
        assert!(off.is_multiple_of(8), "offset {off} is not one");
        let at = self.address(off, 8 * count);
        // SAFETY: as in `at`: mapped memory for this many words, aligned (checked), and atomics only.
        unsafe { core::slice::from_raw_parts(at.cast::<AtomicU64>(), count as usize) }
    }

    /// The lower half of the word at `off`, to sleep on: transactions change whole words, a futex is a half.
    pub(crate) fn futex(&self, off: Off) -> &AtomicU32 {
        const { assert!(cfg!(target_endian = "little"), "the lower half comes first") };
        self.at(off)
    }

    /// A structure of atomics at `off`. `T` must be one of the shared structures of this crate.
    pub(crate) fn shared<T: SharedLayout>(&self, off: Off) -> &T {
        self.at(off)
    }

    /// Entry `index` of the process table.
    pub(crate) fn entry(&self, index: u64) -> &ProcessEntry {
        self.at(entry_at(index))
    }

    /// The program's number, part of every handle.
    pub(crate) fn id(&self) -> u64 {
        self.header().id.load(Ordering::Relaxed)
    }

    /// Identity of the image of the program's processes that start others by a function's position; 0 where nobody has yet.
    pub(crate) fn build(&self) -> u64 {
        self.header().build.load(Ordering::Acquire)
    }

    /// Notes the identity of this process's image, if nobody has noted one: before a function's position is sent.
    pub(crate) fn record_build(&self) -> Result<()> {
        if self.build() == 0 {
            let own = os::image::identity()?;
            // Another process may have been faster: then a child of another build says so.
            let _ = (self.header().build).compare_exchange(0, own, Ordering::AcqRel, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Owner id of this process, 0 while it has none; in memory that is zero in every child until that is told who it is.
    #[inline]
    #[allow(clippy::unused_self, reason = "there is one heap, so one such word")]
    pub(crate) fn me(&self) -> u32 {
        os::fork::WIPED.word().load(core::sync::atomic::Ordering::Relaxed)
    }

    #[allow(clippy::unused_self, reason = "as above")]
    pub(in crate::heap) fn set_me(&self, id: u32) {
        os::fork::WIPED
            .word()
            .store(id, core::sync::atomic::Ordering::Relaxed);
    }

    /// The most bytes one message can have: a block of half the heap, whose first half has the header in it.
    pub(crate) fn largest(&self) -> u64 {
        let chunks = self.header().chunks.load(Ordering::Relaxed);
        (CHUNK << (chunks.ilog2() - 1)) - HEAD
    }

    pub(in crate::heap) fn kind(&self, number: u8) -> Option<&'static ObjectKind> {
        self.kinds.iter().find(|kind| kind.number == number).copied()
    }

    /// Sets `bytes` of fresh memory to zero. The caller owns it.
    #[allow(unsafe_code)]
    pub(in crate::heap) fn clear(&self, off: Off, bytes: u64) {
        // SAFETY: mapped (`address` sees to it), committed, and owned by the caller, so nobody else reads or writes it.
        unsafe { core::ptr::write_bytes(self.address(off, bytes), 0, bytes as usize) };
    }
}
