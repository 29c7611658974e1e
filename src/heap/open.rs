//! Opening the program's heap: the first process makes it, the others attach the one that their parent tells them of.

use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::members::fork;
use crate::heap::memory::heap::{HEAP, ObjectKind};
use crate::heap::memory::layout::{self, CHUNK, Chunk, FIRST_CHUNK, MAGIC, VERSION};
use crate::heap::memory::source::HeapFile;
use crate::heap::memory::space::Space;
use crate::heap::memory::steady::steady;
use crate::os;
use crate::os::kept::Kept;
use crate::wait::atomic::Ordering;
use std::os::fd::RawFd;

/// The smallest heap worth having.
const MIN_SIZE: u64 = 32 << 20;
/// Environment variable that sets the size of the heap in bytes, where it is to be smaller than the largest.
const SIZE_VARIABLE: &str = "PROCESSION_HEAP_BYTES";

impl Heap {
    /// Returns the program's heap; the first process of a program makes it here.
    pub(crate) fn get_or_create(kinds: &'static [&'static ObjectKind]) -> Result<&'static Self> {
        static MAKING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        if let Some(heap) = HEAP.get() {
            return Ok(heap);
        }
        // A child that was forked in the middle would inherit the mutex locked by a thread that the child does not
        // have.
        fork::install_handlers();
        let _steady = steady();
        let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(heap) = HEAP.get() {
            return Ok(heap);
        }
        let heap = Self::create(wanted_size()?, kinds)?;
        heap.register_first()?;
        Ok(Self::install(heap))
    }

    /// Attaches the heap that a parent has told of: see [`descriptor`](Self::descriptor).
    pub(crate) fn attach(
        told: RawFd,
        id: u64,
        kinds: &'static [&'static ObjectKind],
    ) -> Result<&'static Self> {
        let (source, size) = HeapFile::inherited(told)?;
        if size < layout::TABLES_END {
            return Err(Error::BadHeap(format!(
                "it has {size} bytes, too few for the tables of a heap"
            )));
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

    /// Opens a heap of which only the header is mapped. Chunks take the first `end` bytes of its offsets.
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

    /// Makes `heap` the heap of this process, and installs what depends on it: fork handlers, exit handler,
    /// lookout.
    fn install(heap: Self) -> &'static Self {
        // First, so that no forked child mistakes itself for its parent.
        fork::install_handlers();
        // Registered among the first, so run among the last. A process that ends without exit(3) calls `take_leave`
        // itself.
        os::fork::at_exit(take_leave);
        let heap = HEAP.get_or_init(|| heap);
        let header = heap.header();
        crate::wait::spin::install(&header.processors, &header.parted);
        crate::wait::lookout::install(&header.lookout, &header.looked, sweep_dead_rate_limited);
        heap
    }

    /// Creates a heap of `want` bytes.
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
}

/// Calls [`Heap::take_leave`] when this process exits.
extern "C" fn take_leave() {
    Heap::existing().map(Heap::take_leave);
}

/// Sweeps for dead processes: the work of the lookout.
fn sweep_dead_rate_limited() {
    if let Some(heap) = Heap::existing() {
        heap.sweep_dead_rate_limited();
    }
}

/// Returns the size to make the heap: as large as configured, but at most a quarter of a limit on the address
/// space.
fn wanted_size() -> Result<u64> {
    let mut size = asked_size()?;
    let most = os::memory::address_limit().map_or(u64::MAX, |limit| limit / 4);
    while size > most && size / 2 >= MIN_SIZE {
        size /= 2;
    }
    Ok(size)
}

/// Reads the configured size of the heap.
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
