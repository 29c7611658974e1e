//! The heap in a process's memory: how much of it is mapped, the effect of limits and memory locks, and what happens
//! when the program closes descriptors.

mod common;

use common::{METHODS, again, alone, is_again, pattern, told, watchdog};
use procession::{
    Builder, ByteQueue, Error, Lock, Process, Queue, RawArray, SharedMemory, StartMethod, resident_bytes,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const MIB: u64 = 1 << 20;
/// More than half of the first part of the heap: two messages of this size do not fit into it.
const HALF: usize = 130 << 20;

fn by(method: StartMethod) -> Builder {
    Process::builder().method(method)
}

/// Returns the bytes in a line of /proc/self/status.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn limit(which: Resource, bytes: u64) {
    let both = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    setrlimit(which, both).unwrap();
}

/// Runs the test again as a program without root's capabilities, if this one has them. (It keeps the user root, and so
/// may open its files.)
#[allow(unsafe_code)]
fn unprivileged(test: &str) -> Command {
    let mut command = again(test);
    // SAFETY: only makes a system call.
    unsafe {
        command.pre_exec(|| {
            for capability in 0..64 {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            Ok(())
        });
    }
    command
}

/// Runs `body` in a program without capabilities.
fn alone_unprivileged(test: &str, body: impl FnOnce()) {
    if is_again() {
        return body();
    }
    let output = unprivileged(test).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

// ---- what is mapped ----

#[procession::test]
fn a_program_with_a_queue_has_less_than_a_gibibyte_of_addresses() {
    let _watchdog = watchdog();
    alone(
        "a_program_with_a_queue_has_less_than_a_gibibyte_of_addresses",
        || {
            let before = status("VmSize");
            let queue = Queue::unbounded().unwrap();
            queue.put(pattern(1, 100_000)).unwrap();
            assert!(status("VmSize") - before < 1 << 30);
        },
    );
}

#[procession::test]
fn core_files_leave_out_all_shared_memory() {
    let _watchdog = watchdog();
    alone("core_files_leave_out_all_shared_memory", || {
        let queue = ByteQueue::unbounded().unwrap();
        queue.put(&vec![1; HALF]).unwrap();
        queue.put(&vec![1; HALF]).unwrap();
        let _named = SharedMemory::create(None, 10_000).unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut ours, mut seen) = (false, 0);
        for line in maps.lines() {
            let first = line.split(' ').next().unwrap();
            if first.contains('-') {
                ours = line.contains("/memfd:procession") || line.contains("/dev/shm");
            } else if ours && first == "VmFlags:" {
                seen += 1;
                assert!(line.split(' ').any(|flag| flag == "dd"), "{line}");
            }
        }
        assert!(seen >= 3, "only {seen} mappings were found");
    });
}

fn crash(folder: PathBuf) {
    std::env::set_current_dir(folder).unwrap();
    // A failure must not exhaust the machine's memory.
    limit(Resource::Core, 600 * MIB);
    std::process::abort();
}

#[procession::test]
fn a_crash_makes_a_small_core_file_and_no_memory() {
    let _watchdog = watchdog();
    alone("a_crash_makes_a_small_core_file_and_no_memory", || {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        if pattern.trim() != "core"
            || getrlimit(Resource::Core)
                .maximum
                .is_some_and(|most| most < 600 * MIB)
        {
            eprintln!("skipped: core files go elsewhere here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let before = resident_bytes().unwrap();
        let crashed = by(StartMethod::Fork)
            .spawn(crash, folder.path().to_owned())
            .unwrap();
        assert!(crashed.join().is_err());
        let files = std::fs::read_dir(folder.path()).unwrap().flatten();
        let core: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
        assert!(core > 0 && core < 100 * MIB, "{} MiB", core / MIB);
        assert!(resident_bytes().unwrap() < before + 8 * MIB);
    });
}

// ---- memory that is locked ----

#[procession::test]
#[allow(unsafe_code)]
fn locking_all_memory_makes_no_more_than_was_opened() {
    let _watchdog = watchdog();
    alone("locking_all_memory_makes_no_more_than_was_opened", || {
        let bytes = ByteQueue::unbounded().unwrap();
        let before = resident_bytes().unwrap();
        // SAFETY: locking memory changes nothing else.
        if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
            eprintln!("skipped: memory cannot be locked here");
            return;
        }
        assert!(resident_bytes().unwrap() < before + 8 * MIB);
        // Memory can still be given back to the system, and is zero when it is used again.
        for round in 0..3 {
            bytes.put(&vec![7; 300 << 20]).unwrap();
            assert_eq!(bytes.get().unwrap().len(), 300 << 20);
            let used = resident_bytes().unwrap();
            assert!(used < before + 200 * MIB, "round {round}: {} MiB", used / MIB);
        }
        let zero = RawArray::<u64>::new(20 << 17).unwrap();
        assert!(zero.iter().all(|number| number.get() == 0));
    });
}

// ---- limits on addresses ----

#[procession::test]
fn of_a_limit_set_before_the_heap_takes_a_quarter() {
    let _watchdog = watchdog();
    alone("of_a_limit_set_before_the_heap_takes_a_quarter", || {
        limit(Resource::As, 4 << 30);
        let before = status("VmSize");
        let queue = ByteQueue::unbounded().unwrap();
        let most = loop {
            if let Err(error) = queue.put(&vec![1; 60 << 20]) {
                break error;
            }
        };
        assert!(matches!(most, Error::OutOfMemory { .. }), "{most}");
        let grown = status("VmSize") - before;
        assert!(grown < (1 << 30) + 200 * MIB, "{} MiB", grown / MIB);
        assert_eq!(vec![1u8; 2 << 30].len(), 2 << 30);
    });
}

/// Limits the address space to little more than is in use, and returns what comes of a message in a part of the heap
/// that is not mapped yet.
fn narrow(go: Queue<()>, messages: ByteQueue, answers: Queue<String>) {
    let before = status("VmSize");
    limit(Resource::As, before + 100 * MIB);
    go.get().unwrap();
    for _ in 0..2 {
        answers
            .put(match messages.get() {
                Ok(message) => format!("{} bytes", message.len()),
                Err(error) => error.to_string(),
            })
            .unwrap();
    }
}

#[procession::test]
fn a_message_that_finds_no_addresses_is_an_error_and_stays() {
    let _watchdog = watchdog();
    alone("a_message_that_finds_no_addresses_is_an_error_and_stays", || {
        // A forked child has its parent's mappings, so `Fork` comes first.
        for method in [StartMethod::Fork, StartMethod::Spawn, StartMethod::ForkServer] {
            let (go, messages) = (Queue::unbounded().unwrap(), ByteQueue::unbounded().unwrap());
            let answers = Queue::unbounded().unwrap();
            let process = by(method)
                .spawn(narrow, (go.clone(), messages.clone(), answers.clone()))
                .unwrap();
            for _ in 0..2 {
                let mut message = messages.reserve(HALF).unwrap();
                message[HALF - 1] = 9;
                message.commit().unwrap();
            }
            go.put(()).unwrap();
            let said = [(); 2].map(|()| answers.get().unwrap());
            process.join().unwrap();
            let refused = said.iter().filter(|text| text.contains("memory")).count();
            let got = said
                .iter()
                .filter(|text| **text == format!("{HALF} bytes"))
                .count();
            assert!(refused > 0 && refused + got == 2, "{method:?}: {said:?}");
            for _ in got..2 {
                assert_eq!(messages.try_get().unwrap()[HALF - 1], 9, "{method:?}");
            }
        }
    });
}

/// Limits the address space as graders of untrusted programs do, and then allocates `wanted` bytes.
fn limited(wanted: usize, answers: Queue<usize>) {
    limit(Resource::As, 2 << 30);
    answers.put(vec![1u8; wanted].len()).unwrap();
}

#[procession::test]
fn a_child_that_limits_its_addresses_can_use_most_of_them() {
    let _watchdog = watchdog();
    for method in METHODS {
        let answers = Queue::unbounded().unwrap();
        let process = by(method).spawn(limited, (1 << 30, answers.clone())).unwrap();
        assert_eq!(answers.get(), Ok(1 << 30), "{method:?}");
        process.join().unwrap();
    }
}

// ---- limits on files ----

fn echo(requests: Queue<Vec<u8>>, answers: Queue<Vec<u8>>, lock: Lock) {
    for request in requests.iter() {
        let _guard = lock.lock().unwrap();
        answers.put(request).unwrap();
    }
}

fn everything_works() {
    for method in METHODS {
        let (requests, answers) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let lock = Lock::new().unwrap();
        let process = by(method)
            .spawn(echo, (requests.clone(), answers.clone(), lock.clone()))
            .unwrap();
        for len in [10, 10_000, 3_000_000] {
            requests.put(pattern(1, len)).unwrap();
            assert!(answers.get().unwrap() == pattern(1, len), "{method:?}: {len}");
        }
        requests.shutdown();
        process.join().unwrap();
    }
    assert!(resident_bytes().unwrap() > 0);
}

#[procession::test]
fn a_limit_on_files_that_can_be_raised_is_raised_for_a_moment() {
    let _watchdog = watchdog();
    alone(
        "a_limit_on_files_that_can_be_raised_is_raised_for_a_moment",
        || {
            let small = Rlimit {
                current: Some(MIB),
                ..getrlimit(Resource::Fsize)
            };
            setrlimit(Resource::Fsize, small).unwrap();
            everything_works();
            assert_eq!(getrlimit(Resource::Fsize).current, Some(MIB), "it is as it was");
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            assert!(maps.contains("/memfd:procession"), "an ordinary heap");
        },
    );
}

#[procession::test]
fn under_a_small_limit_on_files_everything_works() {
    let _watchdog = watchdog();
    alone("under_a_small_limit_on_files_everything_works", || {
        limit(Resource::Fsize, MIB);
        everything_works();
        assert_eq!(getrlimit(Resource::Fsize).current, Some(MIB), "it is as it was");
    });
}

#[procession::test]
fn under_a_limit_on_files_of_nothing_everything_works_without_privileges() {
    let _watchdog = watchdog();
    alone_unprivileged(
        "under_a_limit_on_files_of_nothing_everything_works_without_privileges",
        || {
            limit(Resource::Fsize, 0);
            everything_works();
        },
    );
}

// ---- limits on memory ----

/// Puts this process into its own control group with a limit of memory; `None` if this machine does not allow it.
fn join_group(bytes: u64) -> Option<PathBuf> {
    let name = format!("procession-test-{}", std::process::id());
    for (root, file) in [
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ] {
        let group = PathBuf::from(root).join(&name);
        if std::fs::create_dir(&group).is_err() {
            continue;
        }
        let joined = std::fs::write(group.join(file), bytes.to_string())
            .and_then(|()| std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()));
        if joined.is_ok() {
            return Some(group);
        }
        let _ = std::fs::remove_dir(&group);
    }
    None
}

#[procession::test]
fn in_a_container_there_is_an_error_and_nobody_is_killed() {
    let _watchdog = watchdog();
    const NAME: &str = "in_a_container_there_is_an_error_and_nobody_is_killed";
    if is_again() {
        let Some(group) = join_group(300 * MIB) else {
            println!("skipped: no group can be made here");
            return;
        };
        println!("group {}", group.display());
        let queue = Queue::unbounded().unwrap();
        let mut count = 0;
        let error = loop {
            match queue.put(vec![1u8; 1 << 20]) {
                Ok(()) => count += 1,
                Err(error) => break error.error().clone(),
            }
        };
        assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        assert!((150..300).contains(&count), "{count} MiB");
        return;
    }
    let output = again(NAME).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some((_, group)) = text.split_once("group ") {
        let _ = std::fs::remove_dir(group.lines().next().unwrap());
    }
    assert!(output.status.success(), "{}", told(&output));
}

// ---- descriptors that are closed ----

/// The program's own files, under the numbers that the crate's descriptors had.
struct Victims(Vec<(File, Vec<u8>)>);

impl Victims {
    /// Closes every descriptor, as a daemon does, and opens files in their place.
    #[allow(unsafe_code)]
    fn after_closing_all() -> (RawFd, Self) {
        let highest = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let highest = highest
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .max()
            .unwrap();
        for number in 3..=highest {
            // SAFETY: closing other code's descriptors is what this test is about. Its own descriptors were dropped
            // before.
            unsafe { libc::close(number) };
        }
        let victims = (3..=highest + 3).map(|n| {
            let content = pattern(n as u64, 300_000);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            // Far into the file, where blocks of the heap would be.
            file.write_all_at(b"end", 900 * MIB).unwrap();
            (file, content)
        });
        (highest, Self(victims.collect()))
    }

    fn check(&self) {
        for (file, content) in &self.0 {
            let number = file.as_raw_fd();
            assert_eq!(
                file.metadata().expect("it is open").len(),
                900 * MIB + 3,
                "descriptor {number}"
            );
            let mut found = vec![0; content.len()];
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found == *content, "descriptor {number}");
            let mut end = [0; 3];
            file.read_exact_at(&mut end, 900 * MIB).unwrap();
            assert_eq!(&end, b"end", "descriptor {number}");
        }
    }
}

fn one() -> i32 {
    1
}

fn wait_for_ever(queue: Queue<()>) {
    let _ = queue.get();
}

fn survives_closing(starts: bool) {
    let nothing = Queue::<()>::unbounded().unwrap();
    let bytes = ByteQueue::unbounded().unwrap();
    let lock = Lock::new().unwrap();
    for method in METHODS {
        // Descriptors that are kept between starts: the fork server's socket, the pipe to daemons.
        assert_eq!(by(method).spawn(one, ()).unwrap().join(), Ok(1));
        if method != StartMethod::Fork {
            let daemon = by(method)
                .daemon(true)
                .spawn(wait_for_ever, nothing.clone())
                .unwrap();
            drop(daemon);
        }
    }
    let running = by(StartMethod::Fork)
        .spawn(wait_for_ever, nothing.clone())
        .unwrap();
    let named = SharedMemory::create(None, 100).unwrap();
    let (_, victims) = Victims::after_closing_all();
    for len in [10, 100_000, 100 << 20, 300 << 20] {
        bytes.put(&vec![3; len]).unwrap();
        assert_eq!(bytes.get().unwrap().len(), len);
        drop(lock.lock().unwrap());
    }
    // Past the end of the mapping.
    for _ in 0..3 {
        bytes.reserve(HALF).unwrap().commit().unwrap();
    }
    for _ in 0..3 {
        assert_eq!(bytes.get().unwrap().len(), HALF);
    }
    assert!(resident_bytes().unwrap() > 0);
    victims.check();
    for method in METHODS {
        match by(method).spawn(one, ()) {
            Ok(process) => assert_eq!(process.join(), Ok(1), "{method:?}"),
            Err(Error::DescriptorLost { number, .. }) => {
                assert!(
                    !starts && number >= 3 && method != StartMethod::Fork,
                    "{method:?}"
                );
            }
            Err(error) => panic!("{method:?}: {error}"),
        }
        victims.check();
    }
    nothing.shutdown();
    running.join().unwrap();
    drop(named);
    victims.check();
}

#[procession::test]
fn a_program_that_closes_all_descriptors_keeps_its_files_and_goes_on() {
    let _watchdog = watchdog();
    alone(
        "a_program_that_closes_all_descriptors_keeps_its_files_and_goes_on",
        || {
            survives_closing(true);
        },
    );
}

#[procession::test]
fn without_privileges_another_process_lends_the_descriptor() {
    let _watchdog = watchdog();
    alone_unprivileged("without_privileges_another_process_lends_the_descriptor", || {
        survives_closing(true);
    });
}

#[procession::test]
fn without_a_fork_server_a_start_says_which_descriptor_was_closed() {
    let _watchdog = watchdog();
    alone_unprivileged(
        "without_a_fork_server_a_start_says_which_descriptor_was_closed",
        || {
            let queue = Queue::unbounded().unwrap();
            let (_, victims) = Victims::after_closing_all();
            queue.put(1).unwrap();
            let error = by(StartMethod::Spawn).spawn(one, ()).unwrap_err();
            assert!(matches!(error, Error::DescriptorLost { .. }), "{error}");
            assert!(error.to_string().contains("closed descriptor"), "{error}");
            assert_eq!(by(StartMethod::Fork).spawn(one, ()).unwrap().join(), Ok(1));
            victims.check();
        },
    );
}
