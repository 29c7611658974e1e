//! The assumptions of the protocols, tested at every step: a process that is stopped in the middle of an operation, or
//! becomes another program there; a process that begins to live while another asks about it; threads that need each
//! other's locks.

use super::{clear_up_after, entry, one_at_a_time, queue_with};
use crate::heap::Heap;
use crate::heap::table::Reserved;
use crate::os::fork::{Forked, exit_now, fork};
use crate::wait::atomic::crash;
use crate::{Error, Lock, PutError, Queue, pipe_one_way_bounded};
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The number of steps after which a test is in an endless loop.
const MAX_STEPS: u64 = 1000;
/// Later than any answer comes; only a test that fails waits so long.
const LATE: Duration = Duration::from_secs(10);
/// The timeout of calls that wait for a stopped process.
const PATIENCE: Duration = Duration::from_millis(40);

/// Forks the child of an entry, which runs `work` and ends. Returns its pid.
fn start(reserved: Reserved, work: impl FnOnce()) -> u32 {
    crate::heap::fork::adopt_as(reserved.id, reserved.claim_fd());
    let forked = fork().expect("a fork");
    drop(reserved);
    match forked {
        Forked::Child => {
            work();
            exit_now(0)
        }
        Forked::Parent(pid) => pid,
    }
}

/// Waits until a child has stopped (returns `None`) or ended (returns its status).
#[allow(unsafe_code)]
fn stopped_or_ended(pid: u32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is a valid, writable int.
    while unsafe { libc::waitpid(pid as i32, &raw mut status, libc::WUNTRACED) } != pid as i32 {}
    (!libc::WIFSTOPPED(status)).then_some(status)
}

#[allow(unsafe_code)]
fn signal(pid: u32, signal: i32) {
    // SAFETY: a child of ours that was not reaped.
    unsafe { libc::kill(pid as i32, signal) };
}

/// A thread that calls `help` if this is not dropped in time, so that a test that would hang fails.
struct Rescuer {
    done: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    late: Arc<AtomicBool>,
}

impl Rescuer {
    fn after(time: Duration, help: impl FnOnce() + Send + 'static) -> Self {
        let (done, end) = channel::<()>();
        let late = Arc::new(AtomicBool::new(false));
        let was_late = late.clone();
        let thread = thread::spawn(move || {
            if end.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                was_late.store(true, Ordering::SeqCst);
                help();
            }
        });
        Self {
            done: Some(done),
            thread: Some(thread),
            late,
        }
    }

    /// Returns whether no help was needed.
    fn was_not_needed(mut self) -> bool {
        drop(self.done.take());
        self.thread.take().map(thread::JoinHandle::join);
        !self.late.load(Ordering::SeqCst)
    }
}

/// Stops a child at its first change of shared memory in `work`, then a new child `stride` changes later, and so on.
/// (Each stop costs a second or two. With `PROCESSION_LONG` every change is tried.) While the child is stopped,
/// `others` runs with the child's pid, and must finish. Then the child goes on, and `check` runs.
fn stops_at_every_step<S>(
    stride: usize,
    setup: impl Fn() -> S,
    work: impl Fn(&S),
    others: impl Fn(&S, u32),
    check: impl Fn(&S),
) {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let stride = if std::env::var_os("PROCESSION_LONG").is_some() {
        1
    } else {
        stride
    };
    for step in (1..).step_by(stride) {
        assert!(step < MAX_STEPS, "it never gets through");
        let (reserved, state) = (entry(heap), setup());
        let id = reserved.id;
        let pid = start(reserved, || {
            crash::stop_at(step);
            work(&state);
            crash::stop_at(0);
        });
        let mut end = stopped_or_ended(pid);
        let through = end.is_some();
        if !through {
            let rescuer = Rescuer::after(LATE, move || signal(pid, libc::SIGCONT));
            others(&state, pid);
            assert!(
                rescuer.was_not_needed(),
                "step {step}: others waited until the stopped process went on"
            );
            signal(pid, libc::SIGCONT);
            end = stopped_or_ended(pid);
        }
        assert_eq!(
            end,
            Some(0),
            "step {step}: the child goes on as if nothing had been"
        );
        check(&state);
        clear_up_after(heap, id);
        if through {
            assert!(step > 2, "only {step} steps: the stops are not in place");
            return;
        }
    }
}

/// Returns whether a wait that a stopped process holds up may end with this error: that of its deadline, or one that
/// names the stopped process.
fn is_fair(error: &Error, pid: u32) -> bool {
    matches!(error, Error::Timeout | Error::Full | Error::Empty)
        || error.to_string().contains(&pid.to_string())
}

fn fair<T>(answer: Result<T, Error>, pid: u32) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(error) => {
            assert!(is_fair(&error, pid), "{error}");
            None
        }
    }
}

fn put_for(queue: &Queue<Vec<u8>>, len: usize, pid: u32) -> bool {
    let put = queue.put_timeout(vec![5; len], PATIENCE);
    fair(put.map_err(|error: PutError<_>| error.error()), pid).is_some()
}

/// Checks that all operations of a queue return in time while a producer or a consumer is stopped.
fn use_in_time(queue: &Queue<Vec<u8>>, pid: u32, patient: &Cell<bool>) {
    for len in [10, 20_000] {
        if !put_for(queue, len, pid) && patient.take() {
            // Without a deadline the error names the stopped process. That takes long, so it is tried once.
            let put = queue.put(vec![5; len]).map_err(|error| error.error());
            if let Err(error) = put {
                assert!(error.to_string().contains(&pid.to_string()), "not named: {error}");
            }
        }
    }
    let _ = fair(queue.try_get(), pid);
    let _ = fair(queue.get_timeout(PATIENCE), pid);
}

/// Gets all messages, and checks that they are whole and that the queue works.
fn drain_whole(queue: &Queue<Vec<u8>>) {
    queue.put(b"last".to_vec()).expect("a queue that works");
    loop {
        let message = queue.get().expect("a message");
        if message == b"last" {
            break;
        }
        assert!(message.iter().all(|byte| *byte == message[0]), "torn");
    }
    assert_eq!(queue.try_get(), Err(Error::Empty));
}

#[test]
fn a_producer_of_small_messages_is_stopped() {
    let patient = Cell::new(true);
    stops_at_every_step(
        1,
        || queue_with(&[vec![1; 10], vec![2; 10]]),
        |queue| queue.put(vec![3; 100]).expect("room"),
        |queue, pid| use_in_time(queue, pid, &patient),
        drain_whole,
    );
}

#[test]
fn a_producer_of_large_messages_is_stopped() {
    let patient = Cell::new(true);
    stops_at_every_step(
        14,
        || queue_with(&[vec![1; 10], vec![2; 10]]),
        |queue| queue.put(vec![3; 20_000]).expect("room"),
        |queue, pid| use_in_time(queue, pid, &patient),
        drain_whole,
    );
}

#[test]
fn a_consumer_is_stopped() {
    let patient = Cell::new(true);
    stops_at_every_step(
        13,
        || queue_with(&[vec![1; 10], vec![2; 20_000], vec![3; 10]]),
        |queue| {
            queue.get().expect("a message");
            queue.get().expect("a message");
        },
        |queue, pid| use_in_time(queue, pid, &patient),
        drain_whole,
    );
}

/// Stops a process that makes objects: other processes make objects too, or get an error that says why not.
#[test]
fn a_maker_of_things_is_stopped() {
    stops_at_every_step(
        9,
        || (),
        |()| drop(Lock::new().expect("a lock")),
        |(), pid| {
            if let Err(error) = Lock::new() {
                assert!(is_fair(&error, pid), "{error}");
            }
        },
        |()| drop(Lock::new().expect("a lock")),
    );
}

/// Stops a process that clears up: others notice deaths, start processes and end, or get an error that says why not.
#[test]
fn a_process_that_clears_up_is_stopped() {
    let heap = crate::program::heap().expect("a heap");
    let patient = Cell::new(true);
    stops_at_every_step(
        67,
        || {
            let queue = queue_with(&[vec![1; 10]]);
            let reserved = entry(heap);
            let dead = reserved.id;
            let pid = start(reserved, || core::mem::forget(queue_with(&[vec![2; 20_000]])));
            assert_eq!(stopped_or_ended(pid), Some(0));
            (queue, dead)
        },
        |(_, dead)| heap.clear_up(*dead).expect("memory"),
        |(queue, dead), pid| {
            let _ = fair(heap.clear_up(*dead), pid);
            if let Some(new) = fair(heap.reserve(heap.me(), 0, "new"), pid) {
                let _ = heap.drop_entry(new.id);
            }
            use_in_time(queue, pid, &patient);
        },
        |(queue, dead)| {
            clear_up_after(heap, *dead);
            drain_whole(queue);
            let _ = heap.clear_up_all_dead();
        },
    );
}

/// Becomes `sleep` at each step of `work` in another thread: for other processes that thread is dead, although its pid
/// lives.
fn becomes_another_program_at_every_step<S: Sync>(
    setup: impl Fn() -> S,
    work: impl Fn(&S) + Sync,
    others: impl Fn(&S),
) {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    for step in 1.. {
        assert!(step < MAX_STEPS, "it never gets through");
        let (reserved, state) = (entry(heap), setup());
        let id = reserved.id;
        // Exec and the end of the child close the other end.
        let (here, there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let pid = start(reserved, || {
            thread::scope(|scope| exec_at(step, scope, &work, &state));
        });
        drop(there);
        let _ = rustix::io::read(&here, &mut [0u8; 1]);
        // It runs the new program, or has ended.
        let rescuer = Rescuer::after(LATE, move || signal(pid, libc::SIGKILL));
        others(&state);
        assert!(
            rescuer.was_not_needed(),
            "step {step}: others waited until the other program ended"
        );
        let through = crate::os::pid::reap(pid).expect("a child") == Some(0);
        if !through {
            signal(pid, libc::SIGKILL);
            let _ = stopped_or_ended(pid);
        }
        clear_up_after(heap, id);
        if through {
            assert!(step > 2, "only {step} steps: the stops are not in place");
            return;
        }
    }
}

/// Ends this process with code 0 if a thread finishes `work` in less than `step` steps; otherwise becomes `sleep` at
/// that step.
fn exec_at<'s, S: Sync>(
    step: u64,
    scope: &'s thread::Scope<'s, '_>,
    work: &'s (impl Fn(&S) + Sync),
    state: &'s S,
) {
    let (told, news) = channel();
    scope.spawn(move || {
        let there = told.clone();
        crash::at_change(step, move || {
            there.send(true).expect("somebody listens");
            loop {
                thread::park();
            }
        });
        work(state);
        told.send(false).expect("somebody listens");
        loop {
            thread::park();
        }
    });
    if news.recv() == Ok(true) {
        use std::os::unix::process::CommandExt;
        let error = std::process::Command::new("/bin/sleep").arg("100").exec();
        eprintln!("exec: {error}");
        exit_now(1);
    }
    exit_now(0)
}

#[test]
fn a_putter_becomes_another_program() {
    for len in [100, 20_000] {
        becomes_another_program_at_every_step(
            || queue_with(&[vec![1; 10]]),
            |queue| queue.put(vec![2; len]).expect("room"),
            drain_whole,
        );
    }
}

#[test]
fn a_maker_of_things_becomes_another_program() {
    becomes_another_program_at_every_step(
        || (),
        |()| drop(Lock::new().expect("a lock")),
        |()| drop(Lock::new().expect("a lock")),
    );
}

/// Lets a child begin to live at every step of the question whether it is alive. The answer must always be yes.
#[test]
fn a_child_that_comes_to_life_while_it_is_asked_for_lives() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    for change in 1..=8 {
        for look in 1..=12 {
            let reserved = entry(heap);
            let id = reserved.id;
            let (here, there) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
            crash::stop_child_at(change);
            let pid = start(reserved, || {
                crash::stop_at(0);
                let _ = rustix::io::write(&there, b"!");
                thread::sleep(Duration::from_secs(600));
            });
            crash::stop_at(0);
            // The child is stopped on its way, or has passed the stop already.
            let stopped = wait_for_stop(pid, here.as_fd());
            let from_child = rustix::io::dup(&here).expect("a descriptor");
            let go_on = move || run_forked_child(pid, stopped, &from_child);
            crash::at_look(look, go_on);
            let alive = heap.alive(id);
            let due = crash::forget_plans();
            signal(pid, libc::SIGKILL);
            signal(pid, libc::SIGCONT);
            while stopped_or_ended(pid).is_none() {}
            clear_up_after(heap, id);
            assert!(
                alive,
                "stopped at change {change} of its start, it went on before look {look} of the question, and was said to be dead"
            );
            if due || !stopped {
                break;
            }
        }
    }
}

/// Waits until a child has stopped (returns true), or has reported that it finished without a stop.
fn wait_for_stop(pid: u32, told: std::os::fd::BorrowedFd<'_>) -> bool {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .map_or(' ', |(_, rest)| rest.chars().next().unwrap_or(' '));
        if state == 'T' {
            return true;
        }
        let mut asked = [rustix::event::PollFd::new(&told, rustix::event::PollFlags::IN)];
        if rustix::event::poll(
            &mut asked,
            Some(&rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        ) == Ok(1)
        {
            return false;
        }
        thread::sleep(Duration::from_micros(50));
    }
}

/// Lets a stopped child go on, and waits until it has adopted its entry.
fn run_forked_child(pid: u32, stopped: bool, told: &OwnedFd) {
    if stopped {
        signal(pid, libc::SIGCONT);
        let _ = rustix::io::read(told, &mut [0u8; 1]);
    }
}

/// Lets one thread send over a pipe, another drop the last reading end, and a third fork. They run in a child, which is
/// watched from outside.
#[test]
fn sending_dropping_an_end_and_forking_at_every_step() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    for step in 1.. {
        assert!(step < MAX_STEPS, "it never gets through");
        let reserved = entry(heap);
        let id = reserved.id;
        let pid = start(reserved, || {
            let through = send_drop_and_fork(step);
            exit_now(i32::from(!through))
        });
        let begin = Instant::now();
        let mut end = None;
        while end.is_none() && begin.elapsed() < LATE {
            end = crate::os::pid::reap(pid).expect("a child");
            thread::sleep(Duration::from_millis(1));
        }
        if end.is_none() {
            signal(pid, libc::SIGKILL);
            let _ = stopped_or_ended(pid);
        }
        clear_up_after(heap, id);
        let end = end.unwrap_or_else(|| {
            panic!("step {step}: the sender, who drops the end, and who forks wait for each other")
        });
        assert!(libc::WIFEXITED(end), "{end:#x}");
        if libc::WEXITSTATUS(end) == 0 {
            assert!(step > 2, "only {step} steps: the pauses are not in place");
            return;
        }
    }
}

/// Returns whether the sender finished before its `step`-th step. At that step it pauses until the other threads are
/// done or blocked.
fn send_drop_and_fork(step: u64) -> bool {
    let (reader, writer) = pipe_one_way_bounded::<Vec<u8>>(100).expect("a pipe");
    writer.send(vec![1; 1000]).expect("room");
    let (told, news) = channel();
    let (go, gone) = channel::<()>();
    let sender = thread::spawn(move || {
        let there = told.clone();
        // Also between two changes: a lock that is not in shared memory may be taken there.
        crash::at_look(step, move || {
            there.send(true).expect("somebody listens");
            let _ = gone.recv();
        });
        // More than the first segment holds. The other end may be gone by then.
        let _ = writer.try_send(vec![2; 8000]);
        let through = crash::forget_plans();
        let _ = told.send(false);
        drop(writer);
        through
    });
    if news.recv() == Ok(true) {
        let others = [thread::spawn(move || drop(reader)), thread::spawn(fork_once)];
        // Long enough for the threads to wait for each other. The test does not fail if they do not.
        thread::sleep(Duration::from_millis(12));
        drop(go);
        for other in others {
            other.join().expect("it ends");
        }
    }
    sender.join().expect("it ends")
}

fn fork_once() {
    // After the other thread, so that the other thread has its locks.
    thread::sleep(Duration::from_millis(4));
    match fork().expect("a fork") {
        Forked::Child => exit_now(0),
        Forked::Parent(pid) => {
            let _ = stopped_or_ended(pid);
        }
    }
}

/// Returns the number of changes of shared memory by this thread while it forks a child that ends at once.
fn changes_of_a_fork(heap: &'static Heap) -> u64 {
    let reserved = entry(heap);
    let id = reserved.id;
    let before = crash::changes();
    let pid = start(reserved, || ());
    let changes = crash::changes() - before;
    assert_eq!(stopped_or_ended(pid), Some(0));
    clear_up_after(heap, id);
    changes
}

/// Checks that the cost of a fork depends on what this process holds now, and not on what it has held before.
#[test]
fn a_fork_after_much_was_dropped_changes_no_more_than_before() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    changes_of_a_fork(heap);
    let before = changes_of_a_fork(heap);
    drop(
        (0..5_000)
            .map(|_| Lock::new().expect("a lock"))
            .collect::<Vec<_>>(),
    );
    let after = changes_of_a_fork(heap);
    // A page of the table that is in use is copied up to the last slot that was ever used.
    assert!(
        after <= 2 * before + 2000,
        "{before} changes before, {after} after"
    );
}

/// Checks that the work of a transaction grows linearly with its words.
#[test]
fn a_long_transaction_finds_its_words_without_a_search() {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    let words = 200;
    let first = crate::heap::layout::entry_at(0);
    let before = crash::looks();
    let staged: Result<(), Error> = heap.transact(|tx| {
        for word in 0..words {
            tx.set(first + 8 * word, 1);
        }
        // None of these changes must happen.
        Err(Error::Timeout)
    });
    assert_eq!(staged, Err(Error::Timeout));
    let looks = crash::looks() - before;
    assert!(looks <= 10 * words, "{looks} looks for {words} words");
}
