//! Whoever waits for somebody else's latch, death or memory gets on: nobody waits for ever, and nobody past a deadline.

use crate::common::{alone, alone_with, watchdog};
use crate::place::{
    LATE, SMALL, Teller, by_hand, comes_true, ends_in_time, is_gone, reap, signal, skipped, state_of,
};
use procession::{Error, Lock, Process, Queue, RawArray, Receiver, Sender, pipe_one_way_bounded};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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

/// Who sends finds no memory, and so looks after the dead; who looks after the dead reader shuts what the sender sends on.
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
                let ended = ends_in_time(|| sends.wait().is_ok(), || kill_both());
                assert_eq!(ended, Some(true), "round {round}: the sender hangs");
            }
        },
    );
}

/// Stops a process that makes locks all the time, wherever it is, and makes one, too: that works, or it is told why not.
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
        for turn in 0..20 {
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
        eprintln!("{held} of 20 stops held this process up");
    });
}

fn wait_for_ever() {
    loop {
        std::thread::park();
    }
}

#[allow(unsafe_code)]
fn trace(pid: u32) -> bool {
    // SAFETY: PTRACE_SEIZE takes no memory.
    unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 }
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Until its tracer has collected it, it cannot be collected.
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
            let (busy, ended) = (processor_time() - before, is_gone(tracer));
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

/// One thread makes and frees a lot, another forks: several forks fit into the time that one making takes.
#[procession::test]
fn forks_go_on_while_much_memory_is_made_and_freed() {
    let _watchdog = watchdog();
    alone("locks::forks_go_on_while_much_memory_is_made_and_freed", || {
        const LEN: usize = 768 << 20;
        // 0: nothing, 1: it is being made, 2: it is being freed.
        let (phase, over) = (AtomicU32::new(0), AtomicBool::new(false));
        let mut best = [0; 2];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..4 {
                    phase.store(1, Ordering::SeqCst);
                    let made = RawArray::<u8>::new(LEN).expect("memory");
                    phase.store(2, Ordering::SeqCst);
                    drop(made);
                    phase.store(0, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                }
                over.store(true, Ordering::SeqCst);
            });
            // Forks that begin and end in the same phase.
            let mut run = (0, 0);
            while !over.load(Ordering::SeqCst) {
                let at = phase.load(Ordering::SeqCst);
                reap(by_hand(|| ()));
                let same = phase.load(Ordering::SeqCst) == at;
                run = if same && run.0 == at {
                    (at, run.1 + 1)
                } else {
                    (at, u32::from(same))
                };
                if at > 0 && same {
                    best[at as usize - 1] = best[at as usize - 1].max(run.1);
                }
            }
        });
        assert!(
            best[0] > 3,
            "{} forks while memory was made, {} while it was freed",
            best[0],
            best[1]
        );
    });
}
