//! Memory: core files, a heap that is full, and limits of all kinds.

use crate::common::{METHODS, again, alone, alone_with, is_again, told, watchdog};
use crate::place::{LATE, MIB, SMALL, by_hand, ends_in_time, reap, resident, signal, skipped};
use procession::{ByteQueue, Error, Lock, Process, PutError, Queue, SharedMemory};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;
use std::time::Duration;

fn limit(resource: Resource, bytes: u64) {
    let limit = Rlimit {
        current: Some(bytes),
        ..getrlimit(resource)
    };
    setrlimit(resource, limit).unwrap();
}

/// Returns the mappings of this process whose name contains `of`: their lines, and whether they are left out of core
/// files.
fn mappings(of: &str) -> Vec<(String, bool)> {
    let all = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut found: Vec<(String, bool)> = Vec::new();
    let mut is_one = false;
    for line in all.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if first.contains('-') && !first.ends_with(':') {
            is_one = line.contains(of);
            if is_one {
                found.push((line.to_owned(), false));
            }
        } else if is_one && let Some(flags) = line.strip_prefix("VmFlags:") {
            found.last_mut().unwrap().1 = flags.split_whitespace().any(|flag| flag == "dd");
        }
    }
    found
}

/// Checks that a core file leaves out the heap. Otherwise a process that crashes would write all of it, allocate pages
/// in every hole, and keep its locks for minutes.
#[procession::test]
fn no_shared_mapping_is_part_of_a_core_file() {
    let _watchdog = watchdog();
    alone("memory::no_shared_mapping_is_part_of_a_core_file", || {
        let queue = ByteQueue::unbounded().unwrap();
        queue.put(&vec![1; 1 << 20]).unwrap();
        let named = SharedMemory::create(None, 1 << 20).unwrap();
        for of in ["/memfd:procession", "/dev/shm/"] {
            let found = mappings(of);
            assert!(!found.is_empty(), "there is no {of}");
            let lacking: Vec<_> = found.iter().filter(|(_, stays_out)| !stays_out).collect();
            assert!(lacking.is_empty(), "not marked: {lacking:?}");
        }
        let _ = named.unlink();
    });
}

/// Limits the size of core files, so that a failure is harmless.
#[procession::test]
fn a_crash_writes_a_small_core_file_and_no_memory() {
    let _watchdog = watchdog();
    alone("memory::a_crash_writes_a_small_core_file_and_no_memory", || {
        const MOST: u64 = 600 << 20;
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        if pattern.contains('/') || pattern.starts_with('|') || pattern.trim().is_empty() {
            return skipped(format_args!("core files go to {pattern:?} here"));
        }
        if getrlimit(Resource::Core)
            .maximum
            .is_some_and(|maximum| maximum < MOST)
        {
            return skipped("core files of that size are not allowed here");
        }
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::new().unwrap();
        let before = resident();
        let pid = by_hand(|| {
            std::env::set_current_dir(folder.path()).unwrap();
            limit(Resource::Core, MOST);
            lock.lock().unwrap().forget();
            signal(std::process::id() as i32, libc::SIGABRT);
        });
        let status = reap(pid);
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
        let cores: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        if cores.is_empty() {
            return skipped("no core file was written");
        }
        let size: u64 = cores.iter().map(|core| core.metadata().unwrap().len()).sum();
        let grown = resident() - before;
        assert!(
            size < 200 * MIB && grown < 50 * MIB,
            "a core file of {} MiB, and the heap has grown by {} MiB",
            size >> 20,
            grown >> 20
        );
    });
}

#[procession::test]
#[allow(unsafe_code)]
fn locking_all_memory_makes_only_what_is_used() {
    let _watchdog = watchdog();
    let test = "memory::locking_all_memory_makes_only_what_is_used";
    alone_with(test, &[("PROCESSION_HEAP_BYTES", "2147483648")], || {
        let queue = ByteQueue::unbounded().unwrap();
        queue.put(&vec![1; 1 << 20]).unwrap();
        let before = resident();
        // SAFETY: it has no preconditions.
        if unsafe { libc::mlockall(libc::MCL_CURRENT) } != 0 {
            return skipped(std::io::Error::last_os_error());
        }
        let grown = resident() - before;
        assert!(grown < 200 * MIB, "the heap has grown by {} MiB", grown >> 20);
        assert_eq!(queue.get().unwrap().len(), 1 << 20);
    });
}

type Large = (u64, String, Option<Lock>);

fn put_all(queue: &Queue<Large>, count: &mut u64, len: usize, lock: Option<&Lock>) {
    loop {
        match queue.put((*count, "x".repeat(len), lock.cloned())) {
            Ok(()) => *count += 1,
            Err(PutError::Failed(_, Error::OutOfMemory { .. })) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Checks that no message is lost if memory runs out in the middle of `get_many`, and that freeing needs no memory.
#[procession::test]
fn what_was_taken_is_not_lost_where_memory_runs_out() {
    let _watchdog = watchdog();
    alone_with(
        "memory::what_was_taken_is_not_lost_where_memory_runs_out",
        &SMALL,
        || {
            let queue = Queue::<Large>::unbounded().unwrap();
            let mut keep: Vec<_> = (0..440).map(|_| Lock::new().unwrap()).collect();
            let mut count = 0;
            for len in [300_000, 20_000, 9_000] {
                put_all(&queue, &mut count, len, None);
            }
            put_all(&queue, &mut count, 5_000, Some(&keep[0]));
            let (mut seen, mut errors) = (Vec::new(), Vec::new());
            while (seen.len() as u64) < count && errors.len() < 5 {
                if queue.is_empty() {
                    errors.push(Error::Empty);
                    continue;
                }
                match queue.get_many(256) {
                    Ok(messages) => seen.extend(messages.into_iter().map(|message| message.0)),
                    Err(error) => errors.push(error),
                }
                if errors.len() == 3 {
                    keep.clear();
                }
            }
            assert!(
                seen.iter().copied().eq(0..count),
                "{count} put, {} got, {} left; {errors:?}",
                seen.len(),
                queue.len()
            );
            queue.put((0, "again".to_owned(), None)).unwrap();
            assert_eq!(queue.get_timeout(LATE).unwrap().1, "again");
        },
    );
}

/// Makes a control group with this limit of memory, or returns the reason why it cannot.
fn control_group(bytes: u64) -> Result<PathBuf, String> {
    let name = format!("procession-test-{}", std::process::id());
    let old = PathBuf::from("/sys/fs/cgroup/memory");
    let new = PathBuf::from("/sys/fs/cgroup");
    let offers = std::fs::read_to_string(new.join("cgroup.subtree_control")).unwrap_or_default();
    let (folder, file) = if old.join("memory.limit_in_bytes").exists() {
        (old.join(name), "memory.limit_in_bytes")
    } else if offers.contains("memory") {
        (new.join(name), "memory.max")
    } else {
        return Err("no memory controller of control groups".to_owned());
    };
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    std::fs::write(folder.join(file), bytes.to_string()).map_err(|error| error.to_string())?;
    Ok(folder)
}

#[procession::test]
fn a_container_s_limit_is_an_error_and_not_a_kill() {
    let _watchdog = watchdog();
    const FOLDER: &str = "PROCESSION_TEST_FOLDER";
    if is_again() {
        let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
        std::fs::write(folder.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        let queue = ByteQueue::unbounded().unwrap();
        let bytes = vec![1; 1 << 20];
        let error = (0..1_000).find_map(|_| queue.put(&bytes).err());
        assert!(matches!(error, Some(Error::OutOfMemory { .. })), "{error:?}");
        return;
    }
    let folder = match control_group(300 << 20) {
        Ok(folder) => folder,
        Err(reason) => return skipped(reason),
    };
    let output = again("memory::a_container_s_limit_is_an_error_and_not_a_kill")
        .env(FOLDER, &folder)
        .output()
        .unwrap();
    crate::place::comes_true(|| std::fs::remove_dir(&folder).is_ok());
    assert!(output.status.success(), "{}", told(&output));
}

/// Sets the limit when the heap exists already, as sandboxes for untrusted programs do.
#[procession::test]
fn a_child_that_limits_its_addresses_can_use_what_is_left() {
    let _watchdog = watchdog();
    fn limited(answers: Queue<usize>) {
        limit(Resource::As, 4 << 30);
        let mut data: Vec<u8> = Vec::new();
        if data.try_reserve_exact(200_000_000).is_ok() {
            data.resize(200_000_000, 1);
        }
        answers.put(data.len()).unwrap();
    }
    alone(
        "memory::a_child_that_limits_its_addresses_can_use_what_is_left",
        || {
            for method in METHODS {
                let answers = Queue::unbounded().unwrap();
                let child = Process::builder()
                    .method(method)
                    .spawn(limited, answers.clone())
                    .unwrap();
                assert_eq!(answers.get_timeout(LATE), Ok(200_000_000), "{method:?}");
                assert_eq!(child.join(), Ok(()));
            }
        },
    );
}

/// Checks that of 4 GiB the program itself can use six tenths.
#[procession::test]
fn the_heap_leaves_most_of_a_limit_on_addresses_to_the_program() {
    let _watchdog = watchdog();
    alone(
        "memory::the_heap_leaves_most_of_a_limit_on_addresses_to_the_program",
        || {
            limit(Resource::As, 4 << 30);
            let queue = ByteQueue::unbounded().unwrap();
            queue.put(&vec![1; 10 << 20]).unwrap();
            let mut own: Vec<u8> = Vec::new();
            assert!(
                own.try_reserve_exact((4 << 30) / 10 * 6).is_ok(),
                "no addresses left where the heap has taken its part"
            );
            assert_eq!(reap(by_hand(|| queue.put(&[5]).unwrap())), 0);
            assert_eq!(queue.get().unwrap().len(), 10 << 20);
            assert_eq!(queue.get().unwrap()[..], [5]);
            drop(own);
            for method in METHODS {
                let child = Process::builder().method(method).spawn(|| 1, ()).unwrap();
                assert_eq!(child.join(), Ok(1), "{method:?}");
            }
        },
    );
}

/// Sets the limit as sandboxes set it.
#[procession::test]
fn a_limit_on_the_size_of_files_is_no_limit_on_memory() {
    let _watchdog = watchdog();
    alone(
        "memory::a_limit_on_the_size_of_files_is_no_limit_on_memory",
        || {
            limit(Resource::Fsize, 1 << 20);
            let queue = ByteQueue::unbounded().unwrap();
            for method in METHODS {
                let child = Process::builder()
                    .method(method)
                    .spawn(
                        |queue: ByteQueue| queue.put(&vec![3; 3_000_000]).unwrap(),
                        queue.clone(),
                    )
                    .unwrap();
                assert_eq!(ends_in_time(|| child.join(), || ()), Some(Ok(())), "{method:?}");
                assert_eq!(
                    queue.get_timeout(Duration::from_secs(1)).unwrap().len(),
                    3_000_000
                );
            }
            assert_eq!(
                getrlimit(Resource::Fsize).current,
                Some(1 << 20),
                "it is as it was"
            );
        },
    );
}
