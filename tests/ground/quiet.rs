//! The cost of waiting: wake-ups and processor time of the waiting threads, and how a contended lock is shared out.

use crate::common::{alone, watchdog};
use crate::place::{Teller, by_hand, reap};
use procession::{Lock, Queue, Semaphore};
use std::time::{Duration, Instant};

/// Returns the number of context switches of the other threads of this process.
fn switches() -> u64 {
    let me = std::process::id();
    let mut count = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap();
        // The main thread and the calling thread are not among the waiting threads.
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

/// Checks that the program as a whole, and not each waiter, wakes once a second to look for dead processes.
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

/// Compares the processor time of a process that waits for a permit, among few processes and among many.
#[procession::test]
fn a_waiter_for_a_permit_does_not_check_all_processes_all_the_time() {
    let _watchdog = watchdog();
    alone(
        "quiet::a_waiter_for_a_permit_does_not_check_all_processes_all_the_time",
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

/// Checks with fifty processes and critical sections of 200 µs that no process gets less than half of the median share.
#[procession::test]
fn a_lock_is_fair_to_all_waiters() {
    let _watchdog = watchdog();
    alone("quiet::a_lock_is_fair_to_all_waiters", || {
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
