//! Shared memory by name: finding it, keeping it, and its removal.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{METHODS, alone, family, own_children, processes, until, watchdog_of};
use procession::{Error, Process, Queue, SharedMemory, StartMethod};
use random::{Random, long};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("/dev/shm/{name}"))
}

fn there(name: &str) -> bool {
    file(name).exists()
}

/// Returns a name that only this test uses.
fn name(of: &str) -> String {
    format!("procession-test-{of}-{}", std::process::id())
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[procession::test]
fn what_one_writes_another_reads() {
    let _watchdog = watchdog_of(60);
    let memory = SharedMemory::create(None, 100).unwrap();
    assert!(memory.name().starts_with("procession-"));
    assert_eq!((memory.len(), memory.is_empty()), (100, false));
    let other = SharedMemory::open(&format!("/{}", memory.name())).unwrap();
    assert_eq!(other.name(), memory.name());
    let bytes: Vec<u8> = (0..100).collect();
    // All alignments of both ends.
    for from in 0..20 {
        for to in (from..40).chain(90..=100) {
            memory.write(0, &[0; 100]).unwrap();
            memory.write(from, &bytes[from..to]).unwrap();
            let mut seen = [7; 100];
            other.read(0, &mut seen).unwrap();
            let expected = |n: usize| if (from..to).contains(&n) { n as u8 } else { 0 };
            assert!((0..100).all(|n| seen[n] == expected(n)), "{from}..{to}");
            let mut part = vec![7; to - from];
            other.read(from, &mut part).unwrap();
            assert_eq!(part, bytes[from..to]);
        }
    }
    let outside = |offset, len| {
        Err(Error::OutOfRange {
            offset,
            len,
            size: 100,
        })
    };
    assert_eq!(memory.write(99, &[1, 2]), outside(99, 2));
    assert_eq!(memory.read(usize::MAX, &mut [0]), outside(usize::MAX, 1));
    memory.write(100, &[]).unwrap();
    memory
        .atomic_u32(96)
        .unwrap()
        .store(u32::from_ne_bytes(*b"word"), Ordering::Release);
    let mut word = [0; 4];
    other.read(96, &mut word).unwrap();
    assert_eq!(&word, b"word");
    assert!(memory.atomic_u32(97).is_none() && memory.atomic_u32(100).is_none());
    assert!(memory.atomic_u64(88).is_some() && memory.atomic_u64(96).is_none());
}

#[procession::test]
fn names() {
    let _watchdog = watchdog_of(60);
    let mine = name("mine");
    let memory = SharedMemory::create(Some(&mine), 10).unwrap();
    let exists = SharedMemory::create(Some(&mine), 10).unwrap_err();
    assert_eq!(exists, Error::MemoryExists { name: mine.clone() });
    assert!(exists.to_string().contains(&mine));
    let missing = name("missing");
    assert_eq!(
        SharedMemory::open(&missing).unwrap_err(),
        Error::NoSuchMemory {
            name: missing.clone()
        }
    );
    for bad in ["", "/", "a/b", "a\0b", ".", "..", &"x".repeat(256)] {
        let refused = [SharedMemory::create(Some(bad), 1), SharedMemory::open(bad)];
        for refused in refused {
            assert_eq!(refused.unwrap_err(), Error::BadName { name: bad.to_owned() });
        }
    }
    // A file there that is not shared memory is left alone.
    std::fs::create_dir(file(&missing)).unwrap();
    assert!(matches!(SharedMemory::open(&missing), Err(Error::Os { .. })));
    assert!(matches!(
        SharedMemory::create(Some(&missing), 1),
        Err(Error::MemoryExists { .. })
    ));
    std::fs::remove_dir(file(&missing)).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file(&mine)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    drop(memory);
    // At once or soon after: another test may be starting a process, which has this one's descriptors until it runs.
    until(|| !there(&mine));
}

#[procession::test]
fn more_than_there_is_is_an_error() {
    let _watchdog = watchdog_of(60);
    for size in [1 << 45, 1 << 62, usize::MAX] {
        let name = name("huge");
        let full = SharedMemory::create(Some(&name), size).unwrap_err();
        assert!(
            matches!(full, Error::OutOfMemory { .. } | Error::Os { .. }),
            "{size}: {full}"
        );
        assert!(!there(&name));
    }
    let empty = SharedMemory::create(None, 0).unwrap_err();
    assert!(
        matches!(
            empty,
            Error::Os {
                errno: libc::EINVAL,
                ..
            }
        ),
        "{empty}"
    );
}

#[procession::test]
fn the_name_goes_with_the_last_handle() {
    let _watchdog = watchdog_of(60);
    let memory = SharedMemory::create(None, 10).unwrap();
    let name = memory.name().to_owned();
    let (other, copy) = (SharedMemory::open(&name).unwrap(), memory.clone());
    drop(memory);
    drop(other);
    assert!(there(&name));
    drop(copy);
    until(|| !there(&name));
}

#[procession::test]
fn unlinking_takes_the_name_and_leaves_the_memory() {
    let _watchdog = watchdog_of(60);
    let name = name("unlink");
    let old = SharedMemory::create(Some(&name), 10).unwrap();
    let also = SharedMemory::open(&name).unwrap();
    also.unlink().unwrap();
    assert!(!there(&name));
    assert_eq!(old.unlink(), Err(Error::NoSuchMemory { name: name.clone() }));
    let new = SharedMemory::create(Some(&name), 20).unwrap();
    // The users of the old memory do not affect the new one.
    assert_eq!(old.unlink(), Err(Error::NoSuchMemory { name: name.clone() }));
    old.write(0, b"old").unwrap();
    let mut bytes = [9; 3];
    also.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"old");
    new.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 3]);
    drop((old, also));
    assert!(there(&name));
}

/// Makes or opens memory, reports it, and keeps it until the process is killed.
fn hold(name: String, make: bool, says: Queue<u32>) -> procession::Result<()> {
    let memory = if make {
        SharedMemory::create(Some(&name), 64)?
    } else {
        SharedMemory::open(&name)?
    };
    memory.atomic_u64(0).unwrap().fetch_add(1, Ordering::Relaxed);
    says.put(std::process::id())?;
    loop {
        std::thread::park();
    }
}

fn holder(method: StartMethod, name: &str, make: bool) -> Process<procession::Result<()>> {
    let says = Queue::unbounded().unwrap();
    let holder = Process::builder()
        .method(method)
        .daemon(true)
        .spawn(hold, (name.to_owned(), make, says.clone()))
        .unwrap();
    says.get().unwrap();
    holder
}

fn end(holder: Process<procession::Result<()>>) {
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[procession::test]
fn it_stays_while_it_is_used_and_goes_when_the_last_user_is_killed() {
    let _watchdog = watchdog_of(60);
    let test = "it_stays_while_it_is_used_and_goes_when_the_last_user_is_killed";
    // In a program that uses no shared memory by name itself: a forked child would share its tracker.
    alone(test, || {
        for method in METHODS {
            let name = name("kill");
            let maker = holder(method, &name, true);
            let user = holder(method, &name, false);
            end(maker);
            std::thread::sleep(Duration::from_millis(200));
            assert!(there(&name), "{method:?}: taken away from somebody who uses it");
            let third = holder(method, &name, false);
            end(user);
            end(third);
            until(|| !there(&name));
        }
    });
}

#[procession::test]
fn a_fork_uses_what_its_parent_used() {
    let _watchdog = watchdog_of(60);
    let memory = SharedMemory::create(None, 64).unwrap();
    let name = memory.name().to_owned();
    let (ready, go) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let child = {
        let (ready, go, name) = (ready.clone(), go.clone(), name.clone());
        Process::fork(move || {
            ready.put(()).unwrap();
            go.get().unwrap();
            let was_there = there(&name);
            drop(memory);
            until(|| !there(&name));
            was_there
        })
        .unwrap()
    };
    ready.get().unwrap();
    // The closure with our handle was dropped by the call: only the child has a handle.
    assert!(there(&name));
    go.put(()).unwrap();
    assert!(child.join().unwrap());
}

#[procession::test]
fn a_tracker_that_was_killed_is_replaced_and_learns_everything() {
    let _watchdog = watchdog_of(60);
    alone(
        "a_tracker_that_was_killed_is_replaced_and_learns_everything",
        || {
            fn work(names: Vec<String>, says: Queue<u32>) {
                // This process has no other child.
                let tracker = || own_children().pop();
                let _one = SharedMemory::create(Some(&names[0]), 1).unwrap();
                until(|| tracker().is_some());
                let first = tracker().unwrap().pid;
                kill(first);
                until(|| tracker().is_none());
                let _two = SharedMemory::create(Some(&names[1]), 1).unwrap();
                until(|| tracker().is_some());
                says.put(std::process::id()).unwrap();
                loop {
                    std::thread::park();
                }
            }
            let names = vec![name("one"), name("two")];
            let says = Queue::unbounded().unwrap();
            let process = Process::spawn(work, (names.clone(), says.clone())).unwrap();
            says.get().unwrap();
            assert!(names.iter().all(|name| there(name)));
            process.kill().unwrap();
            process.wait().unwrap();
            until(|| !names.iter().any(|name| there(name)));
        },
    );
}

#[procession::test]
fn the_tracker_ends_with_its_process() {
    let _watchdog = watchdog_of(60);
    alone("the_tracker_ends_with_its_process", || {
        let says = Queue::unbounded().unwrap();
        let name = name("tracker");
        let process = Process::spawn(hold, (name.clone(), true, says.clone())).unwrap();
        says.get().unwrap();
        let pid = process.pid();
        until(|| family(pid).len() == 2);
        let tracker = *family(pid).last().unwrap();
        // Signals that end other processes at a terminal do not end the tracker.
        kill_process(Pid::from_raw(tracker).unwrap(), Signal::INT).unwrap();
        kill_process(Pid::from_raw(tracker).unwrap(), Signal::TERM).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        until(|| !there(&name));
        until(|| {
            !processes()
                .iter()
                .any(|seen| seen.pid == tracker && seen.state != 'Z')
        });
    });
}

#[test]
fn a_program_that_is_not_initialised_gets_an_error() {
    let _watchdog = watchdog_of(60);
    alone("a_program_that_is_not_initialised_gets_an_error", || {
        assert_eq!(SharedMemory::create(None, 1).unwrap_err(), Error::NotInitialised);
    });
}

/// Makes, opens, uses and drops memory of one name, over and over, until an error. A process that has the memory always
/// has all of it.
fn busy(name: String, seed: u64, wrong: Queue<String>) {
    let mut random = Random::new(seed);
    let text = loop {
        if let Err(text) = use_once(&name, &mut random) {
            break text;
        }
    };
    // A panic takes long, and the process could be killed before the failure is reported.
    wrong.put(text).unwrap();
}

fn use_once(name: &str, random: &mut Random) -> Result<(), String> {
    let memory = if random.below(2) == 0 {
        SharedMemory::create(Some(name), 4096)
    } else {
        SharedMemory::open(name)
    };
    let memory = match memory {
        Err(Error::MemoryExists { .. } | Error::NoSuchMemory { .. }) => return Ok(()),
        answer => answer.map_err(|error| error.to_string())?,
    };
    if memory.len() != 4096 {
        return Err(format!("it has {} bytes", memory.len()));
    }
    memory.atomic_u64(0).unwrap().fetch_add(1, Ordering::Relaxed);
    // The memory is in use, so its name must exist: no process here unlinks it on purpose.
    let again =
        SharedMemory::open(name).map_err(|error| format!("taken away from one who uses it: {error}"))?;
    if again.atomic_u64(0).unwrap().load(Ordering::Relaxed) == 0 {
        return Err("the name leads to something else".to_owned());
    }
    for _ in 0..random.below(50) {
        std::hint::spin_loop();
    }
    Ok(())
}

#[procession::test]
fn killed_at_any_moment_nothing_is_taken_away_and_nothing_stays() {
    let _watchdog = watchdog_of(60);
    let name = name("busy");
    let mut random = Random::new(4);
    let wrong = Queue::unbounded().unwrap();
    let start = |seed| {
        let worker = Process::builder().daemon(true);
        worker.spawn(busy, (name.clone(), seed, wrong.clone())).unwrap()
    };
    let mut workers: Vec<_> = (0..3).map(start).collect();
    for round in 0..long(100) {
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        let victim = workers.swap_remove(random.below(3) as usize);
        victim.kill().unwrap();
        victim.wait().unwrap();
        workers.push(start(round + 10));
    }
    for worker in workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    assert_eq!(wrong.try_get(), Err(Error::Empty));
    until(|| !there(&name));
}
