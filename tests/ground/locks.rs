//! Waiting for another process's lock, death or memory: no thread waits for ever, and none waits past its deadline.

use crate::common::{alone, alone_with, watchdog};
use crate::place::{
    LATE, MIB, SMALL, Teller, by_hand, comes_true, ends_in_time, is_gone, reap, resident, signal, skipped,
    state_of,
};
use procession::{Error, Lock, Process, Queue, RawArray, Receiver, Sender, pipe_one_way_bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn send_for_ever(writer: Sender<Vec<u8>>, full: Queue<bool>) {
    let mut told = false;
    loop {
        match writer.try_send(vec![1; 8_000]).map_err(Error::from) {
            Ok(()) => {}
            Err(Error::OutOfMemory { .. }) if told => {}
            Err(Error::OutOfMemory { .. }) => told = full.put(true).is_ok(),
            Err(_) => return,
        }
    }
}

fn read_nothing(_reader: Receiver<Vec<u8>>, up: Queue<bool>) {
    up.put(true).unwrap();
    loop {
        std::thread::park();
    }
}

/// Lets a sender find no memory, so that it clears up after dead processes, while another thread clears up after the
/// dead reader and shuts the ring of the sender.
#[procession::test]
fn a_reader_dies_while_its_sender_has_no_memory() {
    let _watchdog = watchdog();
    alone_with(
        "locks::a_reader_dies_while_its_sender_has_no_memory",
        &SMALL,
        || {
            for round in 0..5 {
                let (full, up) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
                let (reader, writer) = pipe_one_way_bounded::<Vec<u8>>(1 << 20).unwrap();
                let reads = Process::spawn(read_nothing, (reader, up.clone())).unwrap();
                up.get().unwrap();
                let sends = Process::spawn(send_for_ever, (writer, full.clone())).unwrap();
                full.get().unwrap();
                std::thread::sleep(Duration::from_millis(50 + round));
                reads.kill().unwrap();
                let kill_both = || {
                    let _ = sends.kill();
                };
                let joined = ends_in_time(|| reads.wait().is_ok(), kill_both);
                assert_eq!(
                    joined,
                    Some(true),
                    "round {round}: the parent of the dead reader hangs"
                );
                let ended = ends_in_time(|| sends.wait().is_ok(), kill_both);
                assert_eq!(ended, Some(true), "round {round}: the sender hangs");
            }
        },
    );
}

/// Stops a process that makes locks all the time, at a random moment, and makes a lock too: this works, or the error
/// says why not.
#[procession::test]
fn others_get_an_answer_while_a_process_is_stopped() {
    let _watchdog = watchdog();
    alone("locks::others_get_an_answer_while_a_process_is_stopped", || {
        let _first = Lock::new().unwrap();
        let pid = by_hand(|| {
            loop {
                drop(Lock::new());
            }
        });
        let mut held = 0;
        for turn in 0..30 {
            std::thread::sleep(Duration::from_micros(2_000 + turn * 7_919 % 1_000));
            signal(pid, libc::SIGSTOP);
            assert!(comes_true(|| state_of(pid) == 'T'));
            let made = ends_in_time(|| Lock::new().map(drop), || signal(pid, libc::SIGCONT));
            match made {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    assert!(
                        error.to_string().contains(&pid.to_string()),
                        "who is in the way? {error}"
                    );
                    held += 1;
                }
                None => {
                    signal(pid, libc::SIGKILL);
                    reap(pid);
                    panic!("stop {turn}: no answer until the stopped process went on");
                }
            }
            signal(pid, libc::SIGCONT);
        }
        signal(pid, libc::SIGKILL);
        reap(pid);
        eprintln!("{held} of 30 stops held this process up");
    });
}

fn wait_for_ever() {
    loop {
        std::thread::park();
    }
}

#[allow(unsafe_code)]
fn trace(pid: u32) -> bool {
    // SAFETY: PTRACE_SEIZE uses no memory of the caller.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 }
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Until the tracer has waited for the process, its parent cannot reap it.
#[procession::test]
fn waiting_for_a_dead_child_that_is_traced_ends_at_its_deadline() {
    let _watchdog = watchdog();
    alone(
        "locks::waiting_for_a_dead_child_that_is_traced_ends_at_its_deadline",
        || {
            let (told, over) = (Teller::new(), Teller::new());
            let mut child = Process::spawn(wait_for_ever, ()).unwrap();
            let tracer = by_hand(|| {
                told.tell(&[u64::from(trace(child.pid()))]);
                let end = Instant::now() + Duration::from_secs(6);
                while !over.is_told() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            if told.hear() != Some(1) {
                reap(tracer);
                child.kill().unwrap();
                return skipped("ptrace is not allowed");
            }
            child.kill().unwrap();
            assert!(comes_true(|| state_of(child.pid() as i32) == 'Z'));
            let before = processor_time();
            let waited = child.wait_timeout(Duration::from_millis(300));
            let (busy, ended) = (processor_time().saturating_sub(before), is_gone(tracer));
            let joined = child.join_timeout(Duration::from_millis(100));
            let ended_later = is_gone(tracer);
            over.tell(&[1]);
            reap(tracer);
            assert!(
                !ended,
                "wait_timeout came back when the tracer had ended: {waited:?}"
            );
            assert!(
                !ended_later,
                "join_timeout came back when the tracer had ended: {joined:?}"
            );
            assert!(
                busy < Duration::from_millis(150),
                "{busy:?} of processor time for a wait"
            );
            assert!(child.wait_timeout(LATE).is_ok() || joined.is_err());
        },
    );
}

/// Forks this process while another thread allocates a lot of memory, and while it frees that memory.
fn forks_meanwhile() -> [u32; 2] {
    const LEN: u64 = 768 << 20;
    let (making, over) = (AtomicBool::new(true), AtomicBool::new(false));
    let before = resident();
    // Not sooner, because the other thread may then wait for a fork, which is another case.
    let half_done = || (MIB << 5..LEN - (MIB << 5)).contains(&resident().saturating_sub(before));
    let mut forks = [0; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let made = RawArray::<u8>::new(LEN as usize).expect("memory");
            making.store(false, Ordering::SeqCst);
            drop(made);
            over.store(true, Ordering::SeqCst);
        });
        while !over.load(Ordering::SeqCst) {
            if half_done() {
                let phase = usize::from(!making.load(Ordering::SeqCst));
                reap(by_hand(|| ()));
                forks[phase] += u32::from(half_done());
            } else {
                std::thread::yield_now();
            }
        }
    });
    forks
}

/// Checks that several forks happen in the time that allocating a lot of memory takes.
#[procession::test]
fn forks_go_on_while_much_memory_is_made() {
    let _watchdog = watchdog();
    alone("locks::forks_go_on_while_much_memory_is_made", || {
        let best = (0..3).map(|_| forks_meanwhile()[0]).max().unwrap();
        assert!(best >= 3, "{best} forks at best");
    });
}

/// Checks the same while memory is freed. This takes less time, so one fork in one of several tries is enough.
#[procession::test]
fn forks_go_on_while_much_memory_is_freed() {
    let _watchdog = watchdog();
    alone("locks::forks_go_on_while_much_memory_is_freed", || {
        let best = (0..5).map(|_| forks_meanwhile()[1]).max().unwrap();
        assert!(best >= 1, "{best} forks at best");
    });
}
