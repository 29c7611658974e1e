//! The program's one heap: an anonymous file mapped by every process of the program, and what lives at its front.
//!
//! See README.md beside this file for what is written in which order and what a survivor finds.

pub(crate) mod block;
#[cfg(all(test, not(loom)))]
pub(crate) mod census;
mod chunks;
mod copy;
pub(crate) mod fork;
pub(crate) mod internal;
pub(crate) mod layout;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod object;
mod recovery;
pub(crate) mod references;
pub(crate) mod registration;
pub(crate) mod release;
mod shared_slots;
mod slabs;
mod source;
mod space;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod tx;
pub(crate) mod waiter;

use crate::error::{Error, Result};
use crate::os;
use crate::os::kept::Kept;
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering};
use layout::{CHUNK, Chunk, FIRST_CHUNK, Header, MAGIC, Off, ProcessEntry, VERSION, entry_at, header};
use object::ObjectKind;
use source::HeapFile;
use space::Space;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// The smallest heap worth having.
const MIN_SIZE: u64 = 32 << 20;
/// Environment variable that sets a smaller size than the largest, in bytes.
const SIZE_VARIABLE: &str = "PROCESSION_HEAP_BYTES";

/// The heap as this process sees it.
#[derive(Debug)]
pub(crate) struct Heap {
    /// Where its header is.
    base: *mut u8,
    space: Space,
    source: HeapFile,
    /// The file on which processes' lives are witnessed, where the heap is none.
    lives: Kept,
    kinds: &'static [&'static ObjectKind],
}

// SAFETY: `base` points to shared memory that is only ever reached through atomics, or through blocks whose one owner
// is established by transactions; the rest is immutable or atomic.
#[allow(unsafe_code)]
unsafe impl Send for Heap {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Heap {}

static HEAP: OnceLock<Heap> = OnceLock::new();

impl Heap {
    /// The program's heap; the first process of a program makes it here.
    pub(crate) fn get_or_create(kinds: &'static [&'static ObjectKind]) -> Result<&'static Self> {
        static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        if let Some(heap) = HEAP.get() {
            return Ok(heap);
        }
        // A child that was forked in the middle would find the lock taken by a thread that it does not have.
        fork::install_handlers();
        let _steady = fork::steady();
        let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(heap) = HEAP.get() {
            return Ok(heap);
        }
        let heap = Self::create(wanted_size()?, kinds)?;
        heap.register_first()?;
        Ok(Self::install(heap))
    }

    /// The heap, if this process has one already.
    pub(crate) fn existing() -> Option<&'static Self> {
        HEAP.get()
    }

    /// Attaches the heap that a parent told of: see [`descriptor`](Self::descriptor).
    pub(crate) fn attach(
        told: RawFd,
        id: u64,
        kinds: &'static [&'static ObjectKind],
    ) -> Result<&'static Self> {
        let (source, size) = HeapFile::inherited(told)?;
        if size < layout::TABLES_END {
            return Err(Error::BadHeap(format!("it has {size} bytes")));
        }
        let heap = Self::begin(source, MIN_SIZE, size, kinds)?;
        let header = heap.header();
        let seen = (
            header.magic.load(Ordering::Acquire),
            header.version.load(Ordering::Relaxed),
        );
        if seen != (MAGIC, VERSION) || header.id.load(Ordering::Relaxed) != id {
            return Err(Error::BadHeap(
                "another program made it, or another version of this crate".to_owned(),
            ));
        }
        heap.space.limit(header.size.load(Ordering::Relaxed), size);
        Ok(Self::install(heap))
    }

    /// The heap with nothing mapped but its header. Of its addresses the first `end` bytes are chunks.
    fn begin(
        source: HeapFile,
        end: u64,
        file_size: u64,
        kinds: &'static [&'static ObjectKind],
    ) -> Result<Self> {
        os::fork::WIPED.begin();
        let space = Space::new();
        space.limit(end, file_size);
        let base = space.open(0, CHUNK, &source)?;
        Ok(Self {
            base,
            space,
            source,
            lives: Kept::none(),
            kinds,
        })
    }

    fn install(heap: Self) -> &'static Self {
        // First, so that no child takes itself for its parent.
        fork::install_handlers();
        // Among the first that is asked for, so among the last that is done. Whoever ends without exit(3) says it himself.
        os::fork::at_exit(take_leave);
        let heap = HEAP.get_or_init(|| heap);
        let header = heap.header();
        crate::wait::spin::install(&header.processors, &header.parted);
        crate::wait::lookout::install(&header.lookout, &header.looked, sweep_dead_rate_limited);
        heap
    }

    fn create(want: u64, kinds: &'static [&'static ObjectKind]) -> Result<Self> {
        let chunks = want / CHUNK;
        let more = layout::MORE + (chunks * size_of::<Chunk>() as u64).next_multiple_of(CHUNK);
        let file_size = if want > layout::NEAR {
            more
        } else {
            layout::TABLES_END
        };
        let heap = Self::begin(HeapFile::create(file_size)?, chunks * CHUNK, file_size, kinds)?;
        heap.source.begun();
        heap.begin_lives();
        heap.commit_at(0, CHUNK)?;
        let header = heap.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.lookout.begin();
        header.size.store(chunks * CHUNK, Ordering::Relaxed);
        header.id.store(os::memory::random()?, Ordering::Relaxed);
        header.chunks.store(chunks, Ordering::Relaxed);
        header.frontier.store(FIRST_CHUNK, Ordering::Relaxed);
        header
            .limit
            .store(os::memory::available() / 4 * 3, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(heap)
    }

    #[allow(unsafe_code)]
    fn header(&self) -> &Header {
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
    fn commit_at(&self, off: Off, len: u64) -> Result<()> {
        self.reach(off, len)?;
        os::memory::commit(self.address(off, len), len, || self.source.file(), off)
    }

    /// Gives memory back to the system that this process alone has, and that reads as zero afterwards.
    fn give_up_pages(&self, off: Off, len: u64) -> Result<()> {
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
    pub(crate) fn shared<T: object::SharedLayout>(&self, off: Off) -> &T {
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
    fn set_me(&self, id: u32) {
        os::fork::WIPED
            .word()
            .store(id, core::sync::atomic::Ordering::Relaxed);
    }

    /// The most bytes one message can have: a block of half the heap, whose first half has the header in it.
    pub(crate) fn largest(&self) -> u64 {
        let chunks = self.header().chunks.load(Ordering::Relaxed);
        (CHUNK << (chunks.ilog2() - 1)) - layout::HEAD
    }

    /// Makes a table exist up to its byte `end`, in steps; `known` is the header word that says how far it does, and `part` where
    /// a byte of it lies and how far it goes on there.
    fn extend_table(&self, end: u64, known: Off, part: impl Fn(u64) -> (Off, u64)) -> Result<()> {
        let step = end.next_multiple_of(CHUNK);
        let have = self.word(known).load(Ordering::Acquire);
        if have < step {
            let mut done = have;
            while done < step {
                let (off, until) = part(done);
                let next = until.min(step);
                self.commit_at(off, next - done)?;
                done = next;
            }
            self.transact(|tx| {
                tx.set(known, tx.get(known).max(step));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes the descriptors of chunks below `count` exist.
    fn describe(&self, count: u64) -> Result<()> {
        let end = count * size_of::<Chunk>() as u64;
        self.extend_table(end, header!(described), layout::descriptors_part)
    }

    /// Makes the entries of the process table below `count` exist.
    fn enlarge_table(&self, count: u64) -> Result<()> {
        let end = count * size_of::<ProcessEntry>() as u64;
        self.extend_table(end, header!(tabled), layout::table_part)
    }
}

extern "C" fn take_leave() {
    Heap::existing().map(Heap::take_leave);
}

/// What the lookout does.
fn sweep_dead_rate_limited() {
    if let Some(heap) = Heap::existing() {
        heap.sweep_dead_rate_limited();
    }
}

/// As large as it is asked to be, or, where the address space is limited, at most a quarter of that.
fn wanted_size() -> Result<u64> {
    let mut size = asked_size()?;
    let most = os::memory::address_limit().map_or(u64::MAX, |limit| limit / 4);
    while size > most && size / 2 >= MIN_SIZE {
        size /= 2;
    }
    Ok(size)
}

fn asked_size() -> Result<u64> {
    match std::env::var(SIZE_VARIABLE) {
        Err(_) => Ok(layout::MAX_BYTES),
        Ok(text) => match text.parse::<u64>() {
            Ok(bytes) if bytes >= MIN_SIZE => Ok(bytes.min(layout::MAX_BYTES)),
            _ => Err(Error::BadHeap(format!(
                "{SIZE_VARIABLE}={text:?} must be a number of bytes from {MIN_SIZE}"
            ))),
        },
    }
}
