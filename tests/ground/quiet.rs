//! What waiting costs: wake-ups and processor time of those who wait, and who gets what others wait for, too.

use crate::common::{alone, watchdog};
use crate::place::{Teller, by_hand, reap, skipped};
use procession::{Lock, Process, Queue, Semaphore, StartMethod};
use std::time::{Duration, Instant};

/// Context switches of the other threads of this process.
fn switches() -> u64 {
    let me = std::process::id();
    let mut count = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap();
        // The first one, and that which asks, are not of those that wait.
        let own = rustix::thread::gettid().as_raw_nonzero().get().to_string();
        if thread.file_name() == *me.to_string() || thread.file_name() == *own {
            continue;
        }
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        count += lines
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>();
    }
    count
}

/// The program may wake once a second to look after the dead; not each of its waiters.
#[procession::test]
fn idle_consumers_sleep() {
    let _watchdog = watchdog();
    alone("quiet::idle_consumers_sleep", || {
        let queue = Queue::<u32>::unbounded().unwrap();
        let others: Vec<Queue<u32>> = (0..20).map(|_| Queue::unbounded().unwrap()).collect();
        std::thread::scope(|scope| {
            for other in &others {
                scope.spawn(|| other.get());
                scope.spawn(|| queue.get());
            }
            std::thread::sleep(Duration::from_secs(2));
            let before = switches();
            std::thread::sleep(Duration::from_secs(3));
            let count = switches() - before;
            queue.shutdown();
            others.iter().for_each(Queue::shutdown);
            assert!(count < 45, "{count} context switches of 40 idle consumers in 3 s");
        });
    });
}

fn thread_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Processor time of one that waits for a permit, among few and among many.
#[procession::test]
fn who_waits_for_a_permit_does_not_look_at_everybody_all_the_time() {
    let _watchdog = watchdog();
    alone(
        "quiet::who_waits_for_a_permit_does_not_look_at_everybody_all_the_time",
        || {
            let permits = Semaphore::new(0).unwrap();
            let go = Teller::new();
            let cost = || {
                let _ = permits.acquire_timeout(Duration::from_millis(100));
                let before = thread_time();
                let _ = permits.acquire_timeout(Duration::from_secs(3));
                thread_time().saturating_sub(before)
            };
            let crowd = |count| {
                (0..count)
                    .map(|_| by_hand(|| assert_eq!(go.hear_for_ever(), 0)))
                    .collect::<Vec<_>>()
            };
            let mut pids = crowd(3);
            let few = cost();
            pids.extend(crowd(250));
            let many = cost();
            go.tell(&vec![0; pids.len()]);
            assert!(pids.into_iter().all(|pid| reap(pid) == 0));
            assert!(
                many < 3 * few + Duration::from_millis(5),
                "{few:?} of processor time among 3 others, {many:?} among 253"
            );
        },
    );
}

/// Fifty processes, sections of 200 µs: nobody gets less than half of what they get in the middle.
#[procession::test]
fn a_lock_is_fair_to_all_who_wait() {
    let _watchdog = watchdog();
    alone("quiet::a_lock_is_fair_to_all_who_wait", || {
        let lock = Lock::new().unwrap();
        let (go, shares) = (Teller::new(), Teller::new());
        let pids: Vec<_> = (0..50)
            .map(|_| {
                by_hand(|| {
                    go.hear_for_ever();
                    let end = Instant::now() + Duration::from_secs(4);
                    let mut sections = 0;
                    while Instant::now() < end {
                        let _guard = lock.lock().unwrap();
                        sections += 1;
                        let begin = Instant::now();
                        while begin.elapsed() < Duration::from_micros(200) {}
                    }
                    shares.tell(&[sections]);
                })
            })
            .collect();
        go.tell(&[0; 50]);
        assert!(pids.into_iter().all(|pid| reap(pid) == 0));
        let mut all: Vec<_> = (0..50).map(|_| shares.hear().unwrap()).collect();
        all.sort_unstable();
        assert!(
            2 * all[0] >= all[25],
            "shares {} / {} / {}",
            all[0],
            all[25],
            all[49]
        );
    });
}

fn answer(there: Queue<u32>, back: Queue<u32>) {
    for number in there.iter() {
        back.put(number).unwrap();
    }
}

fn own_switches() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    ["voluntary", "nonvoluntary"].map(|what| {
        let line = status
            .lines()
            .find(|line| line.starts_with(&format!("{what}_ctxt_switches")));
        line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    })
}

/// Who waits there sleeps. The system counts a turn given away by somebody who does not sleep as involuntary.
#[procession::test]
fn where_one_processor_is_allowed_nobody_spins() {
    let _watchdog = watchdog();
    alone("quiet::where_one_processor_is_allowed_nobody_spins", || {
        const ROUNDS: u64 = 3_000;
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        if allowed.count() < 2 {
            return skipped("there is one processor");
        }
        let mut one = rustix::thread::CpuSet::new();
        one.set(
            (0..rustix::thread::CpuSet::MAX_CPU)
                .find(|&n| allowed.is_set(n))
                .unwrap(),
        );
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        let (there, back) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
        let fork = Process::builder().method(StartMethod::Fork);
        let child = fork.spawn(answer, (there.clone(), back.clone())).unwrap();
        let before = own_switches();
        for n in 0..ROUNDS as u32 {
            there.put(n).unwrap();
            assert_eq!(back.get(), Ok(n));
        }
        let after = own_switches();
        there.shutdown();
        child.join().unwrap();
        let [slept, yielded] = [after[0] - before[0], after[1] - before[1]];
        assert!(
            5 * slept > ROUNDS,
            "{slept} sleeps and {yielded} turns given away in {ROUNDS} round trips"
        );
    });
}
