//! The program's one heap: an anonymous file mapped by every process of the program, and what lives at its front.
//!
//! See README.md beside this file for what is written in which order and what a survivor finds.

pub(crate) mod block;
#[cfg(all(test, not(loom)))]
pub(crate) mod census;
mod chunks;
pub(crate) mod fork;
mod holds;
pub(crate) mod layout;
pub(crate) mod object;
mod recovery;
mod shared_slots;
mod slabs;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod tx;
pub(crate) mod waiter;
pub(crate) mod watch;

use crate::error::{Error, Result};
use crate::os;
use crate::wait::atomic::{AtomicU32, AtomicU64, Ordering};
use layout::{CHUNK, Chunk, DESCRIPTORS, Entry, Header, MAGIC, Off, VERSION, descriptor, entry_at, header};
use object::Kind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32 as LocalU32;

/// Virtual size of the heap where nothing limits it.
const WANTED: u64 = 256 << 30;
/// The smallest heap worth having: the tables and a few chunks.
const LEAST: u64 = 64 << 20;
/// Environment variable that sets another size, in bytes.
const SIZE_VARIABLE: &str = "PROCESSION_HEAP_BYTES";

/// The heap as this process sees it.
#[derive(Debug)]
pub(crate) struct Heap {
    base: *mut u8,
    size: u64,
    fd: OwnedFd,
    /// Owner id of this process; a forked child replaces it.
    me: LocalU32,
    kinds: &'static [&'static Kind],
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
    pub(crate) fn get_or_create(kinds: &'static [&'static Kind]) -> Result<&'static Self> {
        static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        if let Some(heap) = HEAP.get() {
            return Ok(heap);
        }
        // A child that was forked in the middle would find the lock taken by a thread that it does not have.
        fork::watch();
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

    /// Attaches the heap that a parent passed on as descriptor `fd`.
    pub(crate) fn attach(fd: OwnedFd, id: u64, kinds: &'static [&'static Kind]) -> Result<&'static Self> {
        let size = rustix::fs::fstat(&fd)
            .map_err(|e| Error::errno("fstat", e))?
            .st_size as u64;
        if size < LEAST {
            return Err(Error::BadHeap(format!("it has {size} bytes")));
        }
        let base = os::memory::map(fd.as_fd(), size)?;
        let heap = Self {
            base,
            size,
            fd,
            me: LocalU32::new(0),
            kinds,
        };
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
        Ok(Self::install(heap))
    }

    fn install(heap: Self) -> &'static Self {
        os::fd::keep_spare(heap.fd.as_fd());
        // First, so that no child takes itself for its parent.
        fork::watch();
        let heap = HEAP.get_or_init(|| heap);
        let header = heap.header();
        crate::wait::spin::install(&header.processors);
        crate::wait::lookout::install(&header.lookout, &header.looked, look_around);
        heap
    }

    fn create(want: u64, kinds: &'static [&'static Kind]) -> Result<Self> {
        let (fd, base, size) = os::memory::create(want, LEAST)?;
        os::memory::commit(fd.as_fd(), base, 0, layout::TABLE)?;
        let heap = Self {
            base,
            size,
            fd,
            me: LocalU32::new(0),
            kinds,
        };
        let most = (size - DESCRIPTORS) / (CHUNK + size_of::<Chunk>() as u64);
        let first = (DESCRIPTORS + most * size_of::<Chunk>() as u64).next_multiple_of(CHUNK);
        let header = heap.header();
        header.version.store(VERSION, Ordering::Relaxed);
        header.lookout.begin();
        header.size.store(size, Ordering::Relaxed);
        header.id.store(os::memory::random()?, Ordering::Relaxed);
        header.build.store(os::image::identity()?, Ordering::Relaxed);
        header.first_chunk.store(first, Ordering::Relaxed);
        header.chunks.store((size - first) / CHUNK, Ordering::Relaxed);
        header
            .limit
            .store(os::memory::physical() / 4 * 3, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(heap)
    }

    #[allow(unsafe_code)]
    fn header(&self) -> &Header {
        // SAFETY: the header lies at the start of the mapping, which lives as long as the program, is committed when the
        // heap is made, and consists of atomics.
        unsafe { &*self.base.cast::<Header>() }
    }

    #[allow(unsafe_code)]
    fn at<T>(&self, off: Off) -> &T {
        assert!(
            off.is_multiple_of(8) && off + size_of::<T>() as u64 <= self.size,
            "offset {off} is outside the heap"
        );
        // SAFETY: in the mapping and aligned (checked); every `T` asked for in this crate consists of atomics only, for
        // which any bytes are valid. Memory behind it was committed before its offset was handed out.
        unsafe { &*self.base.add(off as usize).cast::<T>() }
    }

    /// The 64-bit word at `off`.
    pub(crate) fn word(&self, off: Off) -> &AtomicU64 {
        self.at(off)
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
    pub(crate) fn entry(&self, index: u64) -> &Entry {
        self.at(entry_at(index))
    }

    /// Where `off` is in this process.
    #[allow(unsafe_code)]
    pub(crate) fn address(&self, off: Off) -> *mut u8 {
        assert!(off < self.size, "offset {off} is outside the heap");
        // SAFETY: within the mapping, as checked.
        unsafe { self.base.add(off as usize) }
    }

    /// The program's number, part of every handle.
    pub(crate) fn id(&self) -> u64 {
        self.header().id.load(Ordering::Relaxed)
    }

    /// Identity of the image that made the heap.
    pub(crate) fn build(&self) -> u64 {
        self.header().build.load(Ordering::Relaxed)
    }

    /// The descriptor, to pass on to a child.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Owner id of this process.
    #[inline]
    pub(crate) fn me(&self) -> u32 {
        self.me.load(core::sync::atomic::Ordering::Relaxed)
    }

    fn set_me(&self, id: u32) {
        self.me.store(id, core::sync::atomic::Ordering::Relaxed);
    }

    /// Bytes of shared memory this program occupies now.
    pub(crate) fn resident(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| Error::errno("fstat", e))?;
        Ok(stat.st_blocks as u64 * 512)
    }

    /// The most bytes one message can have.
    pub(crate) fn largest(&self) -> u64 {
        let chunks = self.header().chunks.load(Ordering::Relaxed);
        (CHUNK << chunks.checked_ilog2().unwrap_or(0).min(layout::ORDERS as u32 - 1)) - layout::HEAD
    }

    /// Makes a table exist up to `end`, in steps; `known` is the header word that says how far it does.
    fn extend_table(&self, start: Off, end: Off, known: Off) -> Result<()> {
        let step = (end - start).next_multiple_of(CHUNK);
        let have = self.word(known).load(Ordering::Acquire);
        if have < step {
            os::memory::commit(self.fd(), self.base, start + have, step - have)?;
            self.transact(|tx| {
                tx.set(known, tx.get(known).max(step));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes the descriptors of chunks below `count` exist.
    fn describe(&self, count: u64) -> Result<()> {
        self.extend_table(DESCRIPTORS, descriptor(count), header!(described))
    }
}

/// What the lookout does.
fn look_around() {
    if let Some(heap) = Heap::existing() {
        heap.look_around();
    }
}

fn wanted_size() -> Result<u64> {
    match std::env::var(SIZE_VARIABLE) {
        Err(_) => Ok(WANTED),
        Ok(text) => match text.parse::<u64>() {
            Ok(bytes) if bytes >= LEAST => Ok(bytes),
            _ => Err(Error::BadHeap(format!(
                "{SIZE_VARIABLE}={text:?} must be a number of bytes from {LEAST}"
            ))),
        },
    }
}
