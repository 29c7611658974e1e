//! Programs that close descriptors that are not theirs, as daemons do, and open their own files in their place.

use crate::common::{METHODS, alone_with, watchdog};
use crate::place::{LATE, MIB, by_hand, ends_in_time, reap};
use procession::{ByteQueue, Lock, Process, Queue};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

const LEN: u64 = 96 * MIB;
const HEAP: [(&str, &str); 1] = [("PROCESSION_HEAP_BYTES", "268435456")];
/// The descriptors that are closed, and that then belong to the file.
const NUMBERS: core::ops::Range<i32> = 3..40;

fn page_of_pattern() -> Vec<u8> {
    crate::common::pattern(7, MIB as usize)
}

#[allow(unsafe_code)]
fn close_all() {
    for number in NUMBERS {
        // SAFETY: closing other code's descriptors is what this test is about. None of them is used by the test itself.
        unsafe { libc::close(number) };
    }
}

/// A file with some content, which takes all the closed descriptors.
#[allow(unsafe_code)]
fn victim() -> File {
    let mut file = tempfile::tempfile().unwrap();
    let page = page_of_pattern();
    for _ in 0..LEN / MIB {
        file.write_all(&page).unwrap();
    }
    // SAFETY: the descriptors are free, or belong to the file.
    unsafe {
        let kept = libc::dup2(file.as_raw_fd(), 50);
        drop(file);
        for number in NUMBERS {
            if libc::fcntl(number, libc::F_GETFD) == -1 {
                libc::dup2(kept, number);
            }
        }
        File::from_raw_fd(kept)
    }
}

#[allow(unsafe_code)]
fn assert_unharmed(file: &File) {
    let seen = file.metadata().unwrap();
    assert_eq!(seen.len(), LEN);
    let (page, mut read) = (page_of_pattern(), vec![0; MIB as usize]);
    for at in 0..LEN / MIB {
        file.read_exact_at(&mut read, at * MIB).unwrap();
        assert!(
            read == page,
            "what was in the file at {at} MiB is no longer there"
        );
    }
    for number in NUMBERS {
        // SAFETY: the descriptor is not closed here.
        let other = core::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
        let other = other.metadata().map(|seen| (seen.dev(), seen.ino()));
        assert_eq!(
            other.ok(),
            Some((seen.dev(), seen.ino())),
            "descriptor {number} is no longer the file's"
        );
    }
}

/// Allocates memory and frees it.
fn use_memory(queue: &ByteQueue, lock: &Lock) {
    for len in [100, 20_000, 1 << 20, 20 << 20] {
        for n in 0..3 {
            queue.put(&vec![n; len]).unwrap();
        }
        for n in 0..3 {
            let message = queue.get_timeout(LATE).unwrap();
            assert!(message.len() == len && message[len - 1] == n);
        }
        drop(lock.lock().unwrap());
    }
    let other = ByteQueue::unbounded().unwrap();
    for n in 0..50 {
        other.put(&vec![n; MIB as usize]).unwrap();
    }
}

#[procession::test]
fn memory_is_not_taken_or_given_back_in_a_file_of_the_program() {
    let _watchdog = watchdog();
    let test = "descriptors::memory_is_not_taken_or_given_back_in_a_file_of_the_program";
    alone_with(test, &HEAP, || {
        let (queue, lock) = (ByteQueue::unbounded().unwrap(), Lock::new().unwrap());
        use_memory(&queue, &lock);
        close_all();
        let file = victim();
        use_memory(&queue, &lock);
        assert_eq!(reap(by_hand(|| use_memory(&queue, &lock))), 0);
        use_memory(&queue, &lock);
        assert_unharmed(&file);
    });
}

fn says_what_happened(text: &str) -> bool {
    text.contains("descriptor") || text.contains("shared memory")
}

fn start_after_closing(opened: bool) {
    let (queue, lock) = (ByteQueue::unbounded().unwrap(), Lock::new().unwrap());
    use_memory(&queue, &lock);
    let answers = Queue::<u32>::unbounded().unwrap();
    close_all();
    let file = opened.then(victim);
    for method in METHODS {
        let started = Process::builder()
            .method(method)
            .spawn(|answers: Queue<u32>| answers.put(7).unwrap(), answers.clone());
        match started {
            Err(error) => assert!(
                says_what_happened(&error.to_string()),
                "{method:?}: this says nothing: {error}"
            ),
            Ok(child) => {
                let pid = child.pid() as i32;
                let ended = ends_in_time(|| child.join(), || crate::place::signal(pid, libc::SIGKILL));
                assert_eq!(ended, Some(Ok(())), "{method:?}: it was started");
                assert_eq!(answers.get_timeout(LATE), Ok(7), "{method:?}");
            }
        }
        use_memory(&queue, &lock);
    }
    file.as_ref().map(assert_unharmed);
}

/// Checks that the operation works, or that the error says what happened.
#[procession::test]
fn starting_a_process_after_all_descriptors_were_closed() {
    let _watchdog = watchdog();
    let test = "descriptors::starting_a_process_after_all_descriptors_were_closed";
    alone_with(test, &HEAP, || start_after_closing(false));
}

/// Checks the same, and that the files that have these descriptors now are left alone.
#[procession::test]
fn starting_a_process_after_other_files_have_all_numbers() {
    let _watchdog = watchdog();
    let test = "descriptors::starting_a_process_after_other_files_have_all_numbers";
    alone_with(test, &HEAP, || start_after_closing(true));
}
