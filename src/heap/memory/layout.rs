//! The layout of the heap: a header, the beginnings of the chunk table and of the process table, the chunks, and far
//! after them the rest of both tables.
//!
//! All of it consists of 32- and 64-bit atomics. Zero, which is what fresh memory reads as, always means "nothing here
//! yet". Offsets count from the start of the heap; 0 (the header's own) stands for none. Chunk `n` is at `n` times its
//! size, so a block (a power of two of chunks, at a multiple of that) is inside one of the segments that double in
//! size: see `space.rs`.

use crate::wait::atomic::{AtomicU32, AtomicU64};
use crate::wait::lookout::Words;
use crate::wait::robust_lock::RobustLock;
use core::mem::{offset_of, size_of};

/// A place in the heap, in bytes from its start.
pub(crate) type Off = u64;

/// "PROCESSN", so that another program's memory is not mistaken for a heap.
pub(in crate::heap) const MAGIC: u64 = u64::from_be_bytes(*b"PROCESSN");
/// Changes with every change of anything in shared memory.
pub(in crate::heap) const VERSION: u64 = 6;

/// Bytes in a chunk, the allocator's large unit.
pub(crate) const CHUNK: u64 = 64 << 10;
/// Powers of two of chunks a block can have: up to 2^22 chunks of 64 KiB, 256 GiB.
pub(in crate::heap) const ORDERS: usize = 23;
/// Cell sizes of the slabs, 64 bytes doubled seven times.
pub(in crate::heap) const CLASSES: usize = 8;
/// The smallest cell.
pub(in crate::heap) const MIN_CELL: u64 = 64;
/// The largest cell; what is larger gets chunks of its own.
pub(crate) const MAX_CELL: u64 = MIN_CELL << (CLASSES - 1);
/// Words one transaction may change.
pub(in crate::heap) const JOURNAL: usize = 512;
/// Processes a program can have at a time.
pub(crate) const PROCESSES: u64 = 32_768;
/// Bytes of a process's name that the table keeps.
pub(crate) const NAME: usize = 64;

/// The front of the heap.
#[repr(C, align(64))]
pub(in crate::heap) struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU64,
    pub size: AtomicU64,
    /// Drawn at random when the heap is made; every handle carries it.
    pub id: AtomicU64,
    /// Identity of the program's image, recorded before a function's position in it is sent.
    pub build: AtomicU64,
    /// The number of chunks there can be. The first of them hold the header and the tables.
    pub chunks: AtomicU64,
    _unused: u64,
    /// The most bytes of memory that blocks may have.
    pub limit: AtomicU64,

    /// The lock of transactions, which guards every journaled word. It is held for well under a microsecond. No system
    /// call is made under it, except to open a part of the heap that its holder has not met before.
    pub tx_lock: RobustLock,
    /// Locked while a process clears up after dead processes.
    pub sweep: RobustLock,
    /// Locked while a process turns a chunk into a slab.
    pub grow: RobustLock,
    _line1: [u32; 13],

    /// The number of words of a transaction that is decided but not yet carried out; 0 if there is none.
    pub journal_len: AtomicU64,
    _line2: [u64; 7],
    pub journal: [[AtomicU64; 2]; JOURNAL],

    // Journaled words from here on.
    /// The last serial number given to an object. Each is given once.
    pub serial: AtomicU64,
    /// Chunks below this index have been used at least once.
    pub frontier: AtomicU64,
    /// Bytes of the chunk table that exist.
    pub described: AtomicU64,
    /// Free blocks of each order without memory (chunk index + 1).
    pub cold: [AtomicU64; ORDERS],
    /// Free blocks of each order that still have memory: last freed.
    pub warm_new: [AtomicU64; ORDERS],
    /// Free blocks of each order that still have memory: first freed.
    pub warm_old: [AtomicU64; ORDERS],
    /// Bytes of memory of the warm blocks.
    pub warm_bytes: AtomicU64,
    /// Bytes of memory of the blocks in use.
    pub used_bytes: AtomicU64,
    /// Bytes that are likely to be taken again soon: see `chunks`.
    pub demand: AtomicU64,
    /// Counts frees, so that the warm block unused for longest is known.
    pub tick: AtomicU64,
    /// For each class, its slabs with free cells (chunk index + 1).
    pub slabs: [AtomicU64; CLASSES],
    /// The chunk that is being made a slab (chunk index + 1).
    pub growing: AtomicU64,
    /// Entries of the process table below this index have been used at least once.
    pub table_top: AtomicU64,
    /// First free entry of the process table (index + 1).
    pub table_free: AtomicU64,
    /// Bytes of the process table that exist.
    pub tabled: AtomicU64,
    /// The entry that is checked next for a dead process.
    pub janitor: AtomicU64,
    /// When entries were last swept for dead processes (monotonic clock). Not journaled.
    pub looked: AtomicU64,
    /// The processors that any process of the program was allowed to run on, modulo 64. Not journaled.
    pub processors: AtomicU64,
    /// When a thread may leave its processor for another one the next time. Not journaled.
    pub parted: AtomicU64,
    /// The lookout: the thread that sweeps entries while others sleep. Not journaled.
    pub lookout: Words,
}

/// The descriptor of a chunk. A block is described by that of its first chunk.
#[repr(C, align(64))]
pub(in crate::heap) struct Chunk {
    /// One of the [`kind`] constants in the low byte, the block's order above it.
    pub state: AtomicU64,
    pub next: AtomicU64,
    pub prev: AtomicU64,
    /// Bytes from the block's start that have memory.
    pub committed: AtomicU64,
    /// Bytes the block counts for in `used_bytes`; of a slab: cells in use.
    pub accounted: AtomicU64,
    /// The tick at which the block was freed; of a slab: its first free cell.
    pub stamp: AtomicU64,
    /// Of a slab: the number of cells that were handed out at least once.
    pub bump: AtomicU64,
    /// Of a slab: its class.
    pub class: AtomicU64,
}

/// The states of a block.
pub(in crate::heap) mod kind {
    /// Free, no memory.
    pub const COLD: u64 = 1;
    /// Free, memory.
    pub const WARM: u64 = 2;
    /// Its memory is being committed or given back, so nothing may touch it.
    pub const RAW: u64 = 3;
    /// A block in use.
    pub const USED: u64 = 4;
    /// Cells of one size.
    pub const SLAB: u64 = 5;
}

/// One process of the program.
#[repr(C, align(64))]
pub(crate) struct ProcessEntry {
    /// Index and generation of this entry as one number: the process's owner id, 0 while free.
    pub id: AtomicU64,
    /// One of the [`state`] constants.
    pub state: AtomicU64,
    pub pid: AtomicU64,
    /// When the process started: clock ticks since boot, as in /proc.
    pub started: AtomicU64,
    /// Owner id of the process that started this one.
    pub parent: AtomicU64,
    /// Bit 0: daemon. Bit 1: the parent still has a handle and wants the result.
    pub flags: AtomicU64,
    /// Generation of the last use; also links free entries (index + 1 of the next, above bit 32).
    pub generation: AtomicU64,
    /// Exit status as waitpid(2) gives it, plus one; 0 while the process runs or if no process has reaped it.
    pub status: AtomicU64,
    /// The block with the arguments, until the child has taken them.
    pub start: AtomicU64,
    /// The block with the result, until the parent takes it.
    pub result: AtomicU64,
    /// No page of the table of references has this number or a higher one.
    pub hold_pages: AtomicU64,
    /// First page of the table of references with a free slot (number + 1).
    pub hold_room: AtomicU64,
    /// No page number below this one is free.
    pub hold_hint: AtomicU64,
    /// 1 once a file lock of the kernel witnesses the process's life: see [`os::witness`](crate::os::witness).
    pub witnessed: AtomicU64,
    /// The pid namespace of `pid`; 0 if not known.
    pub namespace: AtomicU64,
    /// Changes when `status` or `state` does: a futex to wait on.
    pub phase: AtomicU32,
    _pad: u32,
    /// 1 once the process has begun to end in an orderly way: see [`Heap::take_leave`](super::heap::Heap::take_leave).
    pub left: AtomicU64,
    /// Slots of the table of references that only freeing uses.
    pub freeing: [AtomicU64; FREEING],
    /// Directories of pages of the table of references.
    pub directory: [AtomicU64; DIRECTORIES],
    pub name: [AtomicU64; NAME / 8],
}

#[cfg(all(test, loom))]
impl ProcessEntry {
    /// Makes a free entry.
    pub(in crate::heap) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            id: zero(),
            state: zero(),
            pid: zero(),
            started: zero(),
            parent: zero(),
            flags: zero(),
            generation: zero(),
            status: zero(),
            start: zero(),
            result: zero(),
            hold_pages: zero(),
            hold_room: zero(),
            hold_hint: zero(),
            witnessed: zero(),
            namespace: zero(),
            phase: AtomicU32::new(0),
            _pad: 0,
            left: zero(),
            freeing: core::array::from_fn(|_| zero()),
            directory: core::array::from_fn(|_| zero()),
            name: core::array::from_fn(|_| zero()),
        }
    }
}

/// The states of an entry.
pub(crate) mod state {
    /// Free.
    pub const FREE: u64 = 0;
    /// Reserved by a parent for a child that has not adopted it yet.
    pub const RESERVED: u64 = 1;
    /// A process runs.
    pub const LIVE: u64 = 2;
    /// The process is dead and cleared up after; its parent may still ask how it ended.
    pub const GONE: u64 = 3;
}

/// Slots in an entry itself.
pub(in crate::heap) const FREEING: usize = 16;
/// Directories in an entry.
pub(in crate::heap) const DIRECTORIES: usize = 16;
/// Words in a page of references (two a slot) and in a directory of pages: a largest cell less its head.
pub(in crate::heap) const PAGE_WORDS: u64 = (MAX_CELL - HEAD) / 8;

/// The number of the waiters' kind.
pub(crate) const WAITER: u8 = 9;

/// The start of every object and block.
#[repr(C)]
pub(crate) struct Head {
    /// The kind in the low byte, references above it; 0 when free.
    pub refs: AtomicU64,
    /// The object's number; of a free cell: the next free cell.
    pub serial: AtomicU64,
    /// Of a block: the number of references it carries. Of a queue: the type of its messages.
    pub extra: AtomicU64,
    /// Of a block: bytes of payload.
    pub len: AtomicU64,
}

/// Structures that may lie in shared memory: made of atomics only, valid for any bytes.
///
/// # Safety
///
/// The implementer consists of atomics (or plain padding) only and is `repr(C)`.
#[allow(unsafe_code)]
pub(crate) unsafe trait SharedLayout {}

#[allow(unsafe_code)]
// SAFETY: four 64-bit atomics.
unsafe impl SharedLayout for Head {}

/// Bytes before a block's payload; keeps payloads on cache lines.
pub(crate) const HEAD: u64 = 64;

/// Bytes of the first segment, a power of two. Each further segment is as long as all before it together.
pub(in crate::heap) const NEAR: u64 = 512 << 20;
/// The most bytes a heap can have for its header and chunks.
pub(in crate::heap) const MAX_BYTES: u64 = 256 << 30;
/// Segments of the largest heap.
pub(in crate::heap) const SEGMENTS: usize = (MAX_BYTES / NEAR).ilog2() as usize + 1;

/// Offset of the descriptors of the first segment's chunks, and their bytes: next to the header, where they are
/// reached most quickly.
pub(in crate::heap) const NEAR_DESCRIPTORS: Off = CHUNK;
pub(in crate::heap) const NEAR_DESCRIPTORS_LEN: u64 = NEAR / CHUNK * size_of::<Chunk>() as u64;
/// Offset of the entries of the first processes, how many these are, and their bytes.
pub(in crate::heap) const NEAR_TABLE: Off = NEAR_DESCRIPTORS + NEAR_DESCRIPTORS_LEN;
pub(in crate::heap) const NEAR_ENTRIES: u64 = 1024;
pub(in crate::heap) const NEAR_TABLE_LEN: u64 = NEAR_ENTRIES * size_of::<ProcessEntry>() as u64;
/// The first chunk that can be handed out.
pub(in crate::heap) const FIRST_CHUNK: u64 = (NEAR_TABLE + NEAR_TABLE_LEN).div_ceil(CHUNK);

/// Offset, after all chunks, from which the entries of all other processes are counted; where they end.
pub(in crate::heap) const TABLES: Off = 1 << 39;
pub(in crate::heap) const TABLES_END: Off = TABLES + PROCESSES * size_of::<ProcessEntry>() as u64;
/// Offset from which the descriptors of all other chunks are counted.
pub(in crate::heap) const MORE: Off = TABLES + (1 << 30);

const _: () = assert!(CHUNK << (ORDERS - 1) == MAX_BYTES && MAX_BYTES < TABLES && TABLES_END < MORE);
const _: () = assert!(size_of::<Header>() as u64 <= CHUNK);
#[cfg(not(loom))]
const _: () = assert!(
    size_of::<Chunk>() == 64 && size_of::<Head>() == 32 && size_of::<ProcessEntry>().is_multiple_of(64)
);

/// Offset of a header field.
macro_rules! header {
    ($field:ident) => {
        core::mem::offset_of!(crate::heap::memory::layout::Header, $field) as crate::heap::memory::layout::Off
    };
    ($field:ident [$index:expr]) => {
        core::mem::offset_of!(crate::heap::memory::layout::Header, $field) as crate::heap::memory::layout::Off
            + 8 * ($index) as u64
    };
}
pub(in crate::heap) use header;

/// Offset of a field of a chunk's descriptor.
macro_rules! chunk {
    ($index:expr, $field:ident) => {
        crate::heap::memory::layout::descriptor($index)
            + core::mem::offset_of!(crate::heap::memory::layout::Chunk, $field)
                as crate::heap::memory::layout::Off
    };
}
pub(in crate::heap) use chunk;

/// Offset of a field of a process's entry.
macro_rules! entry {
    ($index:expr, $field:ident) => {
        crate::heap::memory::layout::entry_at($index)
            + core::mem::offset_of!(crate::heap::memory::layout::ProcessEntry, $field)
                as crate::heap::memory::layout::Off
    };
}
pub(crate) use entry;

/// Returns the offset of chunk `index`'s descriptor.
#[inline]
pub(in crate::heap) fn descriptor(index: u64) -> Off {
    let table = if index < NEAR / CHUNK {
        NEAR_DESCRIPTORS
    } else {
        MORE
    };
    table + index * size_of::<Chunk>() as u64
}

/// Returns the offset of entry `index` of the process table.
#[inline]
pub(crate) fn entry_at(index: u64) -> Off {
    let table = if index < NEAR_ENTRIES { NEAR_TABLE } else { TABLES };
    table + index * size_of::<ProcessEntry>() as u64
}

/// Returns the offset of byte `at` of the chunk table, and the byte of the table up to which the table is
/// contiguous there.
pub(in crate::heap) fn descriptors_part(at: u64) -> (Off, u64) {
    if at < NEAR_DESCRIPTORS_LEN {
        (NEAR_DESCRIPTORS + at, NEAR_DESCRIPTORS_LEN)
    } else {
        // Each segment's are a region of their own.
        (MORE + at, (at + 1).next_power_of_two())
    }
}

/// Returns, as [`descriptors_part`], the offset of byte `at` of the process table and the end of the contiguous
/// part.
pub(in crate::heap) fn table_part(at: u64) -> (Off, u64) {
    if at < NEAR_TABLE_LEN {
        (NEAR_TABLE + at, NEAR_TABLE_LEN)
    } else {
        (TABLES + at, TABLES_END - TABLES)
    }
}

/// Offsets within [`Head`].
pub(crate) const REFS: Off = offset_of!(Head, refs) as Off;
pub(crate) const SERIAL: Off = offset_of!(Head, serial) as Off;
pub(crate) const EXTRA: Off = offset_of!(Head, extra) as Off;
pub(crate) const LEN: Off = offset_of!(Head, len) as Off;
