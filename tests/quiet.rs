//! Idle programs sleep, and still notice when a process dies.

mod common;

use common::{alone, until, watchdog};
use procession::{Process, Queue, Semaphore, StartMethod};
use rustix::process::{Pid, Signal, kill_process};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for all waiters to have begun a long sleep.
const SETTLED: Duration = Duration::from_millis(2_500);

/// Far more than the second that a death may go unnoticed, and less than the time after which a sleeper checks without
/// being woken.
const PROMISED: Duration = Duration::from_secs(20);

// ---- no needless wake-ups ----

fn consume(queue: Queue<u32>) {
    while queue.get().is_ok() {}
}

/// Returns the number of context switches of a process.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .filter(|line| line.contains("ctxt_switches"))
        .map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Returns how often a hundred consumers wake in five seconds without a message. Each has the queue that `queue`
/// returns for it.
fn idle(mut queue: impl FnMut() -> Queue<u32>) -> u64 {
    let queues: Vec<_> = (0..100).map(|_| queue()).collect();
    let all: Vec<_> = queues
        .iter()
        .map(|queue| {
            Process::builder()
                .method(StartMethod::Fork)
                .spawn(consume, queue.clone())
                .unwrap()
        })
        .collect();
    let count = || all.iter().map(|process| switches(process.pid())).sum::<u64>();
    thread::sleep(SETTLED);
    let before = count();
    thread::sleep(Duration::from_secs(5));
    let woken = count() - before;
    queues.iter().for_each(Queue::shutdown);
    all.into_iter().for_each(|process| process.join().unwrap());
    woken
}

#[procession::test]
fn consumers_of_one_queue_sleep() {
    let _watchdog = watchdog();
    alone("consumers_of_one_queue_sleep", || {
        let queue = Queue::unbounded().unwrap();
        let woken = idle(|| queue.clone());
        assert!(woken < 100, "{woken} times in five seconds");
    });
}

#[procession::test]
fn consumers_of_many_queues_sleep() {
    let _watchdog = watchdog();
    alone("consumers_of_many_queues_sleep", || {
        let woken = idle(|| Queue::unbounded().unwrap());
        assert!(woken < 100, "{woken} times in five seconds");
    });
}

// ---- one process looks for the dead ----

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// Gets a permit, reports its pid, and keeps the permit for good.
fn keep(permits: Semaphore, got: Queue<u32>) {
    permits.acquire().unwrap().forget();
    got.put(std::process::id()).unwrap();
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Starts processes that all want the only permit of a semaphore; the first of them has it.
struct Wanted {
    all: Vec<Process<()>>,
    got: Queue<u32>,
}

impl Wanted {
    fn by(count: usize) -> Self {
        let (permits, got) = (Semaphore::bounded(1).unwrap(), Queue::unbounded().unwrap());
        let all = (0..count)
            .map(|number| {
                let args = (permits.clone(), got.clone());
                let process = Process::builder()
                    .method(StartMethod::Fork)
                    .daemon(true)
                    .spawn(keep, args)
                    .unwrap();
                if number == 0 {
                    until(|| !got.is_empty());
                }
                process
            })
            .collect();
        let wanted = Self { all, got };
        assert_eq!(wanted.next(), wanted.all[0].pid());
        thread::sleep(SETTLED);
        wanted
    }

    /// Waits for the pid of the process that has got the permit. This process neither waits in shared memory nor asks
    /// for the state of a process, because either could be how a death is noticed.
    fn next(&self) -> u32 {
        let begun = Instant::now();
        loop {
            match self.got.try_get() {
                Ok(pid) => return pid,
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
            assert!(begun.elapsed() < PROMISED, "nobody has got it");
        }
    }

    fn end(self) {
        for process in &self.all {
            send(process.pid(), Signal::KILL);
        }
        for process in self.all {
            process.wait().unwrap();
        }
    }
}

#[procession::test]
fn the_lookout_is_replaced_when_it_dies() {
    let _watchdog = watchdog();
    alone("the_lookout_is_replaced_when_it_dies", || {
        for pause in [0, 20].map(Duration::from_millis) {
            // Whichever processes are the lookout, in the end it is the last one; also if a process that is woken for
            // this is killed before it runs.
            let wanted = Wanted::by(30);
            for process in &wanted.all[1..29] {
                send(process.pid(), Signal::KILL);
                thread::sleep(pause);
            }
            thread::sleep(Duration::from_millis(200));
            send(wanted.all[0].pid(), Signal::KILL);
            assert_eq!(wanted.next(), wanted.all[29].pid());
            wanted.end();
        }
    });
}

#[procession::test]
fn a_lookout_that_stops_waiting_is_replaced() {
    let _watchdog = watchdog();
    alone("a_lookout_that_stops_waiting_is_replaced", || {
        // A process that gets the permit is not the lookout any more.
        let wanted = Wanted::by(8);
        let mut holder = wanted.all[0].pid();
        for _ in 1..8 {
            send(holder, Signal::KILL);
            holder = wanted.next();
        }
        wanted.end();
    });
}

#[procession::test]
fn the_lookout_may_be_stopped() {
    let _watchdog = watchdog();
    alone("the_lookout_may_be_stopped", || {
        for stopped in 1..4 {
            let wanted = Wanted::by(4);
            send(wanted.all[stopped].pid(), Signal::STOP);
            send(wanted.all[0].pid(), Signal::KILL);
            let next = wanted.next();
            assert_ne!(next, wanted.all[stopped].pid());
            wanted.end();
        }
    });
}
