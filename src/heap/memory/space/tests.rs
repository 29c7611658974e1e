//! Tests of mapping the heap in steps.

use super::*;
use crate::heap::memory::layout::{CHUNK, descriptor};
use crate::os::kept::Kept;

/// Makes a file as large as a heap of 256 GiB, and maps nothing of it.
fn heap() -> (HeapFile, Space) {
    let space = Space::new();
    let end = descriptor((256 << 30) / CHUNK);
    space.limit(256 << 30, end);
    (HeapFile::create(end).expect("a file"), space)
}

/// Returns the bytes of the file that are mapped in this process.
fn mapped(source: &HeapFile) -> u64 {
    let inode = rustix::fs::fstat(source.file().expect("open"))
        .expect("a file")
        .st_ino;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc");
    let lines = maps.lines().filter(|line| line.contains(&format!(" {inode} ")));
    let length = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(start, 16).ok()?)
    };
    lines.filter_map(length).sum()
}

#[allow(unsafe_code)]
fn write(at: *mut u8, byte: u8) {
    // SAFETY: opened memory that only this test knows.
    unsafe { at.write(byte) };
}

#[allow(unsafe_code)]
fn read(at: *mut u8) -> u8 {
    // SAFETY: as above.
    unsafe { at.read() }
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_region_is_reserved_when_it_is_first_met_and_opened_in_steps() {
    let (source, space) = heap();
    assert!(!space.has_all(8, 8));
    space.open(0, CHUNK, &source).expect("addresses");
    assert_eq!(mapped(&source), NEAR);
    assert!(space.has_all(STEP - 8, 8) && !space.has_all(STEP - 7, 8));
    space.open(STEP - 8, 16, &source).expect("addresses");
    assert!(space.has_all(2 * STEP - 8, 8) && !space.has_all(2 * STEP, 8));
    let far = space.open(5 << 30, 1, &source).expect("addresses");
    write(far, 7);
    assert_eq!(read(space.open(5 << 30, 1, &source).expect("addresses")), 7);
    assert_eq!(mapped(&source), NEAR + (4 << 30));
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_block_is_contiguous_however_large() {
    let (source, space) = heap();
    space.open(0, 1, &source).expect("addresses");
    let at = space.open(128 << 30, 128 << 30, &source).expect("addresses");
    assert_eq!(
        space.open((256 << 30) - 1, 1, &source).expect("addresses"),
        Space::place(at, (128 << 30) - 1)
    );
}

#[test]
#[cfg_attr(miri, ignore)]
fn the_rest_is_found_without_a_descriptor() {
    let (source, space) = heap();
    space.open(0, 1, &source).expect("addresses");
    let off = 3 << 30;
    let fd = source.file().expect("open");
    assert_eq!(rustix::io::pwrite(fd, b"here", off), Ok(4));
    if let HeapFile::File(kept) = &source {
        kept.close();
    }
    let at = space.open(off, 4, &source).expect("addresses");
    assert_eq!([0, 1, 2, 3].map(|n| read(Space::place(at, n))), *b"here");
}

#[test]
#[cfg_attr(miri, ignore)]
fn threads_may_open_at_the_same_time() {
    for _ in 0..50 {
        let (source, space) = heap();
        space.open(0, 1, &source).expect("addresses");
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (source, space) = (&source, &space);
                scope.spawn(move || {
                    for n in 0..32 {
                        let off = NEAR + (n << 20) + 4096 * thread;
                        write(space.open(off, 8, source).expect("addresses"), 1);
                    }
                });
            }
        });
        assert_eq!(mapped(&source), 2 * NEAR, "nobody's reservation is left over");
    }
}

/// Makes a region whose reservation is too short.
fn shortened(off: Off, halvings: u64) -> (HeapFile, Space, *mut u8, Bounds) {
    let (source, space) = heap();
    let bounds = Bounds::of(off);
    let base = source
        .reserve(null_mut(), bounds.start, bounds.halved(0))
        .expect("addresses");
    let region = &space.regions[bounds.number];
    region
        .reserved
        .store(base.expose_provenance() as u64 | halvings, Ordering::Release);
    (source, space, base, bounds)
}

/// Runs in a process of its own, because the limit on addresses is for the whole process.
#[test]
#[cfg_attr(miri, ignore)]
fn threads_may_lengthen_at_the_same_time() {
    let all_is_well = || {
        let (source, space, base, bounds) = shortened(16 << 30, 4);
        let less = bounds.halved(4);
        let start = std::sync::Barrier::new(4);
        let reaches = |thread: u64| {
            // This thread's own memory is there before the room is.
            drop(vec![0u8; 10]);
            start.wait();
            start.wait();
            (0..64).all(|n| {
                let off = bounds.start + less + (8 * n + thread) * STEP;
                space.open(off, 8, &source).is_ok()
            })
        };
        let well = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|thread| scope.spawn(move || reaches(thread)));
            start.wait();
            memory::unmap(Space::place(base, less), bounds.halved(0) - less);
            start.wait();
            threads.map(|thread| thread.join().expect("it does not panic"))
        });
        memory::unmap(base, bounds.halved(0));
        well == [true; 3]
    };
    crate::crash_tests::in_a_child(|| (0..30).all(|_| all_is_well()));
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_heap_whose_size_is_learnt_later_is_reserved_as_a_whole() {
    let (source, space) = heap();
    space.limit(32 << 20, MORE);
    space.open(0, 1, &source).expect("addresses");
    space.limit(256 << 30, descriptor((256 << 30) / CHUNK));
    let last = space.open(NEAR - 8, 8, &source).expect("addresses");
    write(last, 1);
    assert_eq!(mapped(&source), NEAR);
}

#[test]
#[should_panic(expected = "outside the heap")]
fn an_offset_behind_the_end_is_refused() {
    let space = Space::new();
    space.limit(64 << 20, descriptor(1024));
    let _ = space.open(64 << 20, 8, &HeapFile::File(Kept::none()));
}
