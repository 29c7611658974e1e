//! The environment of a program: no descriptors, no memory, other programs, other builds.

mod common;

use common::{METHODS, again, alone, alone_with, pattern, told, until, watchdog, watchdog_of};
use procession::{
    Builder, ByteQueue, Error, Lock, LockError, Process, ProcessError, PutError, Queue, StartMethod,
    active_children, resident_bytes,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

fn by(method: StartMethod) -> Builder {
    Process::builder().method(method)
}

fn echo(requests: Queue<Vec<u8>>, answers: Queue<Vec<u8>>) {
    for request in requests.iter() {
        answers.put(request).unwrap();
    }
}

// ---- no descriptors left ----

/// Uses up all descriptors of this program while `body` runs.
fn without_descriptors(body: impl FnOnce()) {
    let usual = getrlimit(Resource::Nofile);
    let few = Rlimit {
        current: Some(100),
        ..usual
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let mut all = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        all.push(file);
    }
    body();
    drop(all);
    setrlimit(Resource::Nofile, usual).unwrap();
}

fn no_descriptor(error: &Error) -> bool {
    matches!(
        error,
        Error::Os {
            errno: libc::EMFILE,
            ..
        }
    )
}

#[procession::test]
fn without_descriptors_nothing_starts_and_the_rest_works() {
    let _watchdog = watchdog();
    alone("without_descriptors_nothing_starts_and_the_rest_works", || {
        let (requests, answers) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let process = Process::spawn(echo, (requests.clone(), answers.clone())).unwrap();
        let lock = Lock::new().unwrap();
        without_descriptors(|| {
            for method in METHODS {
                for daemon in [false, true] {
                    match by(method).daemon(daemon).spawn(|| 1, ()) {
                        Err(error) => assert!(no_descriptor(&error), "{method:?}: {error}"),
                        // The crate keeps one descriptor in reserve, and may have closed it for this.
                        Ok(process) => assert_eq!(process.join(), Ok(1), "{method:?}"),
                    }
                }
            }
            assert!(no_descriptor(&Process::spawn(|| 1, ()).unwrap_err()));
            for len in [10, 10_000, 1 << 20] {
                requests.put(pattern(1, len)).unwrap();
                assert!(answers.get().unwrap() == pattern(1, len));
            }
            let more = (Queue::unbounded().unwrap(), Lock::new().unwrap());
            more.0.put(lock.clone()).unwrap();
            drop(more.0.get().unwrap().lock().unwrap());
            assert_eq!(
                answers.get_timeout(Duration::from_millis(20)),
                Err(Error::Timeout)
            );
            thread::scope(|scope| {
                let guard = lock.lock().unwrap();
                let waiter = scope.spawn(|| lock.lock().map(drop).is_ok());
                thread::sleep(Duration::from_millis(20));
                drop(guard);
                assert!(waiter.join().unwrap());
            });
        });
        assert_eq!(
            active_children().len(),
            1,
            "a start that failed left something behind"
        );
        for method in METHODS {
            assert_eq!(by(method).spawn(|| 1, ()).unwrap().join(), Ok(1));
        }
        requests.shutdown();
        process.join().unwrap();
    });
}

fn hold(lock: Lock, ready: Queue<()>, never: Queue<()>) {
    let _guard = lock.lock().unwrap();
    ready.put(()).unwrap();
    let _ = never.get();
}

#[procession::test]
fn without_descriptors_a_death_is_still_noticed() {
    let _watchdog = watchdog();
    alone("without_descriptors_a_death_is_still_noticed", || {
        for method in METHODS {
            let (lock, ready) = (Lock::new().unwrap(), Queue::unbounded().unwrap());
            let never = Queue::unbounded().unwrap();
            let process = by(method)
                .spawn(hold, (lock.clone(), ready.clone(), never))
                .unwrap();
            ready.get().unwrap();
            without_descriptors(|| {
                process.kill().unwrap();
                assert!(matches!(lock.lock(), Err(LockError::OwnerDied { .. })));
                drop(lock.lock().unwrap());
                process.wait().unwrap();
            });
        }
    });
}

#[procession::test]
fn without_descriptors_a_running_fork_server_refuses() {
    let _watchdog = watchdog();
    alone("without_descriptors_a_running_fork_server_refuses", || {
        let server = || by(StartMethod::ForkServer);
        assert_eq!(server().spawn(|| 1, ()).unwrap().join(), Ok(1));
        without_descriptors(|| {
            let started = [(); 3].map(|()| {
                let (requests, answers) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
                match server().spawn(echo, (requests.clone(), answers.clone())) {
                    Ok(process) => Some((process, requests, answers)),
                    Err(error) => {
                        assert!(no_descriptor(&error), "{error}");
                        None
                    }
                }
            });
            // If a descriptor was left after all, the state of the process is known.
            for (mut process, requests, answers) in started.into_iter().flatten() {
                requests.put(vec![1]).unwrap();
                assert_eq!(answers.get().unwrap(), [1]);
                assert!(process.is_alive(), "it runs, and is said not to");
                assert_eq!(process.join_timeout(Duration::ZERO), Err(Error::Timeout));
                requests.shutdown();
                process.join().unwrap();
            }
        });
        assert_eq!(server().spawn(|| 1, ()).unwrap().join(), Ok(1));
    });
}

// ---- no memory left ----

/// Makes a heap that is soon full.
const SMALL: [(&str, &str); 1] = [("PROCESSION_HEAP_BYTES", "41943040")];

/// Puts messages until there is no memory for another, and returns their number.
fn fill(queue: &Queue<Vec<u8>>, len: usize) -> u64 {
    for n in 0.. {
        match queue.put(pattern(n, len)) {
            Ok(()) => {}
            Err(PutError::Failed(value, Error::OutOfMemory { .. })) => {
                assert!(value == pattern(n, len), "the value is given back");
                return n;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    unreachable!("there is no end to memory")
}

fn drain(queue: &Queue<Vec<u8>>, count: u64, len: usize) {
    assert_eq!(queue.len() as u64, count);
    for n in 0..count {
        assert!(queue.get().unwrap() == pattern(n, len), "message {n} of {count}");
    }
    assert_eq!(queue.try_get(), Err(Error::Empty));
}

#[procession::test]
fn without_memory_a_put_fails_and_nothing_is_lost() {
    let _watchdog = watchdog_of(180);
    alone_with("without_memory_a_put_fails_and_nothing_is_lost", &SMALL, || {
        let queue = Queue::unbounded().unwrap();
        for len in [100, 8_000, 9_000, 60_000, 1 << 20, 100] {
            let mut counts = Vec::new();
            for _ in 0..3 {
                let count = fill(&queue, len);
                assert!(
                    count * len as u64 > 5 << 20,
                    "only {count} messages of {len} bytes fit"
                );
                // Again at once, and again without harm.
                assert!(matches!(
                    queue.try_put(pattern(0, len)),
                    Err(PutError::Failed(_, Error::OutOfMemory { .. }))
                ));
                let rest = queue.put_many([pattern(1, len), pattern(2, len)]).unwrap_err();
                assert_eq!(rest.into_inner(), [pattern(1, len), pattern(2, len)]);
                drain(&queue, count, len);
                counts.push(count);
            }
            assert!(
                counts[2] * 10 >= counts[0] * 9,
                "memory is lost on the way: {counts:?} messages of {len} bytes"
            );
        }
        assert!(resident_bytes().unwrap() <= 40 << 20);
    });
}

#[procession::test]
fn without_memory_nothing_is_made() {
    let _watchdog = watchdog_of(180);
    alone_with("without_memory_nothing_is_made", &SMALL, || {
        for _ in 0..3 {
            let mut queues = Vec::new();
            let error = loop {
                match Queue::<u64>::unbounded() {
                    Ok(queue) => queues.push(queue),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
            assert!(queues.len() > 1_000);
            assert!(matches!(
                ByteQueue::unbounded().unwrap_err(),
                Error::OutOfMemory { .. }
            ));
            // The existing objects work: small messages are stored in the queue itself.
            for (n, queue) in queues.iter().enumerate() {
                queue.put(n as u64).unwrap();
                assert_eq!(queue.get(), Ok(n as u64));
            }
        }
    });
}

#[procession::test]
fn a_message_larger_than_the_heap_is_refused() {
    let _watchdog = watchdog();
    alone_with("a_message_larger_than_the_heap_is_refused", &SMALL, || {
        const LEN: usize = 100 << 20;
        let refused = |error: &Error| {
            assert!(matches!(error, Error::TooLarge { len, max } if *len >= LEN as u64 && *max <= 32 << 20));
        };
        let bytes = ByteQueue::unbounded().unwrap();
        refused(&bytes.reserve(LEN).unwrap_err());
        refused(&bytes.put(&vec![0; LEN]).unwrap_err());
        let texts = Queue::unbounded().unwrap();
        let error = texts.put("x".repeat(LEN)).unwrap_err();
        refused(&error.error());
        assert_eq!(error.into_inner().len(), LEN);
        assert!(matches!(
            bytes.reserve(usize::MAX - 100).unwrap_err(),
            Error::TooLarge { .. } | Error::OutOfMemory { .. }
        ));
        for method in METHODS {
            let error = by(method)
                .spawn(|text: String| text.len(), "x".repeat(LEN))
                .unwrap_err();
            refused(&error);
            let end = by(method)
                .spawn(|len: usize| "x".repeat(len), LEN)
                .unwrap()
                .join();
            assert!(
                matches!(&end, Err(Error::Process(_))),
                "{method:?}: a result that does not fit: {:?}",
                end.map(|text| text.len())
            );
        }
        bytes.put(b"small").unwrap();
        texts.put("small".to_owned()).unwrap();
        assert_eq!(bytes.get().unwrap()[..], *texts.get().unwrap().as_bytes());
    });
}

#[procession::test]
fn without_memory_a_start_fails_or_works() {
    let _watchdog = watchdog_of(180);
    alone_with("without_memory_a_start_fails_or_works", &SMALL, || {
        let queue = Queue::unbounded().unwrap();
        for method in METHODS {
            for len in [60_000, 100] {
                let count = fill(&queue, len);
                for _ in 0..3 {
                    match by(method).spawn(|n: Vec<u8>| n, pattern(1, 20_000)) {
                        Err(error) => assert!(matches!(error, Error::OutOfMemory { .. }), "{error}"),
                        Ok(process) => match process.join() {
                            Ok(answer) => assert!(answer == pattern(1, 20_000)),
                            Err(Error::OutOfMemory { .. } | Error::Process(_)) => {}
                            Err(error) => panic!("{method:?}: {error}"),
                        },
                    }
                }
                drain(&queue, count, len);
                assert_eq!(by(method).spawn(|| 5, ()).unwrap().join(), Ok(5), "{method:?}");
            }
        }
    });
}

#[procession::test]
fn without_memory_a_fork_is_whole_or_is_not() {
    let _watchdog = watchdog_of(180);
    alone_with("without_memory_a_fork_is_whole_or_is_not", &SMALL, || {
        let queue = Queue::unbounded().unwrap();
        // A child that refers to as many objects needs memory for its table of references.
        let held: Vec<_> = (0..60_000).map(|_| Lock::new().unwrap()).collect();
        for len in [60_000, 8_000, 1] {
            let mine = Lock::new().unwrap();
            let filled: Vec<u64> = [len, 8_000, 1].iter().map(|&len| fill(&queue, len)).collect();
            for _ in 0..3 {
                match Process::fork(|| {
                    let me = procession::current().map(|me| me.pid());
                    // A process without its own entry would take references that others hold.
                    let taken = held[0].try_lock().map(drop).is_ok();
                    (me, std::process::id(), taken)
                }) {
                    Err(error) => assert!(matches!(error, Error::OutOfMemory { .. }), "{error}"),
                    Ok(process) => match process.join() {
                        Ok((me, pid, taken)) => assert_eq!((me, taken), (Ok(pid), true)),
                        Err(Error::OutOfMemory { .. } | Error::Process(_)) => {}
                        Err(error) => panic!("{error}"),
                    },
                }
                drop(mine.lock().unwrap());
            }
            assert_eq!(queue.len() as u64, filled.iter().sum::<u64>());
            while queue.try_get().is_ok() {}
        }
        let whole = Process::fork(|| held.iter().all(|lock| lock.try_lock().is_ok())).unwrap();
        assert_eq!(whole.join(), Ok(true));
    });
}

#[procession::test]
fn a_limit_on_addresses_or_files_makes_the_heap_smaller() {
    let _watchdog = watchdog();
    alone("a_limit_on_addresses_or_files_makes_the_heap_smaller", || {
        for (resource, bytes) in [(Resource::As, 8u64 << 30), (Resource::Fsize, 1 << 30)] {
            let limit = Rlimit {
                current: Some(bytes),
                ..getrlimit(resource)
            };
            setrlimit(resource, limit).unwrap();
        }
        let queue = ByteQueue::unbounded().unwrap();
        assert!(matches!(queue.reserve(1 << 30), Err(Error::TooLarge { .. })));
        queue.put(&pattern(1, 10 << 20)).unwrap();
        assert!(queue.get().unwrap()[..] == pattern(1, 10 << 20));
        for method in METHODS {
            assert_eq!(by(method).spawn(|| 1, ()).unwrap().join(), Ok(1));
        }
    });
}

#[procession::test]
fn a_heap_size_that_makes_no_sense_is_an_error() {
    let _watchdog = watchdog();
    const SIZES: [&str; 4] = ["", "many", "1000", "-1"];
    let test = "a_heap_size_that_makes_no_sense_is_an_error";
    if common::is_again() {
        let error = Queue::<u8>::unbounded().unwrap_err().to_string();
        assert!(error.contains("PROCESSION_HEAP_BYTES"), "{error}");
        assert!(Lock::new().is_err());
        assert!(Process::spawn(|| 1, ()).is_err());
        return;
    }
    for size in SIZES {
        let output = again(test).env("PROCESSION_HEAP_BYTES", size).output().unwrap();
        assert!(output.status.success(), "{size:?}: {}", told(&output));
    }
}

// ---- programs that are not initialised ----

#[test]
fn a_program_that_is_not_initialised_starts_nothing() {
    let _watchdog = watchdog();
    alone("a_program_that_is_not_initialised_starts_nothing", || {
        for method in METHODS {
            let refused = by(method).spawn(|| 1, ()).unwrap_err();
            assert_eq!(refused, Error::NotInitialised);
            assert!(refused.to_string().contains("procession::init()"), "{refused}");
        }
        assert_eq!(Process::fork(|| 1).unwrap_err(), Error::NotInitialised);
        assert_eq!(active_children(), []);
        // The rest works.
        let queue = Queue::unbounded().unwrap();
        queue.put(1).unwrap();
        assert_eq!(queue.get(), Ok(1));
        procession::init();
        assert_eq!(Process::fork(|| 1).unwrap().join(), Ok(1));
    });
}

/// Runs a program that initialises itself only in its first process.
#[test]
fn a_child_that_is_not_initialised_is_not_started() {
    let _watchdog = watchdog();
    const CHILD: &str = "PROCESSION_TEST_CHILD";
    alone("a_child_that_is_not_initialised_is_not_started", || {
        if let Some(file) = std::env::var_os(CHILD) {
            // If this were allowed, each process would start another without end.
            let refused = Process::spawn(|| 1, ()).map(drop);
            std::fs::write(file, format!("{refused:?}")).unwrap();
            return;
        }
        procession::init();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("answer");
        let process = Process::builder()
            .env(CHILD, &file)
            .stdout(procession::Stdio::null());
        match process.spawn(|| 1, ()).unwrap().join() {
            Err(error @ Error::Process(ProcessError::NotStarted { .. })) => {
                assert!(error.to_string().contains("procession::init()"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), "Err(NotInitialised)");
        assert_eq!(active_children(), []);
    });
}

#[procession::test]
fn a_program_that_is_not_ours_is_not_started() {
    let _watchdog = watchdog();
    for program in ["/bin/true", "/bin/false"] {
        match Process::builder()
            .program(program)
            .name("other")
            .spawn(|| 1, ())
            .unwrap()
            .join()
        {
            Err(Error::Process(ProcessError::NotStarted { name, ended })) => {
                let code = i32::from(program == "/bin/false");
                assert_eq!((name.as_str(), ended), ("other", format!("exit code {code}")));
            }
            other => panic!("{other:?}"),
        }
    }
    for program in ["/nowhere/at/all", "/dev/null", "/", "with a \0 in it"] {
        let refused = Process::builder().program(program).spawn(|| 1, ()).unwrap_err();
        assert!(matches!(refused, Error::Os { .. }), "{refused}");
    }
}

#[procession::test]
fn another_build_of_the_program_is_recognised() {
    let _watchdog = watchdog();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::copy(common::this_program(), &copy).unwrap();
    for daemon in [false, true] {
        let process = Process::builder()
            .program(&copy)
            .name("stranger")
            .daemon(daemon)
            .stdout(procession::Stdio::null())
            .stderr(procession::Stdio::null())
            .spawn(|text: String| text, "hello".to_owned())
            .unwrap();
        match process.join() {
            Err(Error::Process(ProcessError::OtherBuild { name })) => assert_eq!(name, "stranger"),
            other => panic!("{other:?}"),
        }
    }
    // The program itself, started by name, is the same program.
    let process = Process::builder()
        .program(common::this_program())
        .stdout(procession::Stdio::null())
        .spawn(|text: String| text, "hello".to_owned())
        .unwrap();
    assert_eq!(process.join().unwrap(), "hello");
}

#[procession::test]
fn a_program_whose_file_is_replaced_goes_on() {
    let _watchdog = watchdog();
    let test = "a_program_whose_file_is_replaced_goes_on";
    if common::is_again() {
        // A new file under the old name, as a compiler writes it.
        let program = common::this_program();
        std::fs::remove_file(&program).unwrap();
        std::fs::write(&program, "something else").unwrap();
        for method in METHODS {
            assert_eq!(by(method).spawn(|| 1, ()).unwrap().join(), Ok(1), "{method:?}");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::copy(common::this_program(), &copy).unwrap();
    let original = again(test);
    let output = std::process::Command::new(&copy)
        .args(original.get_args())
        .envs(original.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[procession::test]
fn an_order_that_is_nonsense_is_refused() {
    let _watchdog = watchdog();
    let test = "an_order_that_is_nonsense_is_refused";
    assert!(!common::is_again(), "it went on");
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    // Descriptor 0 is a file of the right size with nothing in it.
    std::fs::File::create(&large).unwrap().set_len(64 << 20).unwrap();
    let empty = folder.path().join("empty");
    std::fs::File::create(&empty).unwrap();
    let orders = [
        "",
        "garbage",
        "1:2:3",
        "3:1:1:0:-1:-1:-1:7",
        "9999:1:1:0:-1:-1:-1",
        "-1:1:1:0:-1:-1:-1",
        "0:1:1:0:-1:-1:-1",
        "0:0:0:0:-1:-1:-1",
        "0:0:32769:1:-1:0:-1",
        "0:1:99999999999999999999:0:-1:-1:-1",
        "99999999999999999999999999999999999999999999:1:1:0:-1:-1:-1",
    ];
    for input in [&large, &empty] {
        for order in orders {
            let output = again(test)
                .env("PROCESSION_START", order)
                .stdin(
                    std::fs::OpenOptions::new()
                        .read(true)
                        .write(true)
                        .open(input)
                        .unwrap(),
                )
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(100), "{order:?}: {}", told(&output));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.starts_with("procession: this process cannot start: "),
                "{order:?}: {said}"
            );
        }
    }
}

#[procession::test]
fn programs_started_by_other_means_are_not_children() {
    let _watchdog = watchdog();
    let test = "programs_started_by_other_means_are_not_children";
    if common::is_again() {
        assert!(procession::parent().is_none());
        assert_eq!(procession::current().unwrap().name(), "main");
        return;
    }
    fn start_again(test: String) -> bool {
        again(&test).stdout(Stdio::null()).status().unwrap().success()
    }
    for method in METHODS {
        assert_eq!(
            by(method).spawn(start_again, test.to_owned()).unwrap().join(),
            Ok(true)
        );
    }
}

// ---- nothing is left behind ----

/// Starts a fork server and processes of every kind, prints their pids, and waits.
fn crowd(pids: Queue<u32>, never: Queue<()>) {
    for method in METHODS {
        for daemon in [false, true] {
            let process = by(method)
                .daemon(daemon)
                .spawn(|never: Queue<()>| drop(never.get()), never.clone());
            pids.put(process.unwrap().pid()).unwrap();
        }
    }
    let _ = never.get();
}

#[procession::test]
fn nothing_stays_of_a_program_that_is_killed() {
    let _watchdog = watchdog();
    let test = "nothing_stays_of_a_program_that_is_killed";
    const FOLDER: &str = "PROCESSION_TEST_FOLDER";
    if common::is_again() {
        let folder = std::path::PathBuf::from(std::env::var_os(FOLDER).unwrap());
        let (pids, never) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let processes = METHODS.map(|method| by(method).spawn(crowd, (pids.clone(), never.clone())).unwrap());
        let mut all: Vec<_> = (0..18).map(|_| pids.get().unwrap()).collect();
        all.extend(processes.iter().map(Process::pid));
        all.push(std::process::id());
        let text: Vec<_> = all.iter().map(ToString::to_string).collect();
        std::fs::write(folder.join("new"), text.join(" ")).unwrap();
        std::fs::rename(folder.join("new"), folder.join("pids")).unwrap();
        let _ = never.get();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut program = again(test)
        .env(FOLDER, folder.path())
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = folder.path().join("pids");
    until(|| file.exists());
    let pids = std::fs::read_to_string(&file).unwrap();
    let pids: Vec<i32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let family = common::family(program.id());
    let others = family.iter().filter(|pid| !pids.contains(pid)).count();
    assert!(others > 0, "the fork servers belong to it too");
    for &pid in &pids {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    program.wait().unwrap();
    until(|| !pids.iter().chain(&family).any(|&pid| common::runs(pid as u32)));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["pids"]);
}
