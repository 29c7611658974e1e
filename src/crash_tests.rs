//! Death at every step: each operation runs in forked processes. The first process is killed at its first change of
//! shared memory, the second at its second change, and so on, until one finishes. After each death a survivor must be
//! able to go on, and the messages must be whole. When everything is dropped the heap must be as it was before.

mod ground;
mod loans;
mod pipes;
mod producers;
mod references;
mod select;
mod semaphore;
mod shared;
mod sync;

use crate::heap::table::{Reserved, WANTED};
use crate::heap::{Heap, waiter};
use crate::os::fork::{Forked, exit_now, fork};
use crate::wait::atomic::crash;
use crate::{ByteQueue, Error, JoinableQueue, Lock, LockError, Queue, RLock};
use semaphore::{count_permits, three};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lets one test run at a time: they share the program's heap, and every forked process has an entry in it.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Clears up now what other tests left, so that it does not change the counts later.
    Heap::existing().map(Heap::clear_up_all_dead);
    guard
}

/// The number of steps after which a test is in an endless loop.
const MAX_STEPS: u64 = 5000;

/// Reserves an entry for a child to be forked. This also clears up after dead processes.
fn entry(heap: &Heap) -> Reserved {
    heap.reserve(heap.me(), WANTED, "crash").expect("an entry")
}

/// Forks the child of this entry, which runs `work` and dies at its `step`-th change (0: never). Returns whether it
/// finished.
fn run_to(reserved: Reserved, step: u64, work: impl FnOnce()) -> bool {
    crate::heap::fork::adopt_as(reserved.id, reserved.claim_fd());
    let forked = fork().expect("a fork");
    drop(reserved);
    match forked {
        Forked::Child => {
            crash::arm(step);
            let ended = catch_unwind(AssertUnwindSafe(work));
            crash::arm(0);
            exit_now(i32::from(ended.is_err()))
        }
        Forked::Parent(pid) => {
            let status = ended(pid);
            assert!(
                status == 0 || status == libc::SIGKILL,
                "step {step}: status {status:#x}"
            );
            status == 0
        }
    }
}

/// Asserts that `work`, in a forked child, returns true.
pub(crate) fn in_a_child(work: impl FnOnce() -> bool) {
    let _one = one_at_a_time();
    match fork().expect("a fork") {
        Forked::Child => exit_now(i32::from(!work())),
        Forked::Parent(pid) => assert_eq!(ended(pid), 0, "the child's status"),
    }
}

/// Waits for the end of a child, and returns its status.
fn ended(pid: u32) -> i32 {
    loop {
        if let Some(status) = crate::os::pid::reap(pid).expect("a child") {
            return status;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn clear_up_after(heap: &'static Heap, id: u32) {
    heap.clear_up(id).expect("memory");
    heap.no_longer_wanted(id).expect("memory");
}

/// Kills `work` at every step, twice: once the survivor clears up before it goes on, and once after.
fn dies_at_every_step<S>(setup: impl Fn() -> S, work: impl Fn(&S), check: impl Fn(&S, bool)) {
    dies_at_every_step_over(|| (), |()| setup(), work, check);
}

/// Does the same as [`dies_at_every_step`] with an object that is made once, before anything else.
fn dies_at_every_step_over<K, S>(
    make: impl Fn() -> K,
    setup: impl Fn(&K) -> S,
    work: impl Fn(&S),
    check: impl Fn(&S, bool),
) {
    let _one = one_at_a_time();
    let heap = crate::program::heap().expect("a heap");
    // One round before the first count, because objects that are made once and kept (this process's table of
    // references, this thread's record) are no difference.
    let _waiter = waiter::keep(heap);
    let made = make();
    drop((Lock::new().expect("a lock"), setup(&made)));
    let mut steps = 0;
    for clear_first in [true, false] {
        let before = heap.census();
        for step in 1.. {
            assert!(step < MAX_STEPS, "it never gets through");
            // Reserved before a process is dead: reserving clears up after the dead, which may be the operation under
            // test.
            let reserved = entry(heap);
            let dead = reserved.id;
            let state = setup(&made);
            let through = run_to(reserved, step, || work(&state));
            if clear_first {
                clear_up_after(heap, dead);
            }
            check(&state, through);
            if !clear_first {
                clear_up_after(heap, dead);
            }
            drop(state);
            let after = heap.census();
            assert_eq!(
                before, after,
                "step {step}: the heap is not as before (clear first: {clear_first})"
            );
            if through {
                steps = step;
                break;
            }
        }
    }
    assert!(steps > 2, "only {steps} steps: the crash points are not in place");
}

/// Returns all messages in the queue, which must still work. (A message whose put had not returned may become visible
/// only when the next put repairs what its producer left.)
fn drain(queue: &Queue<Vec<u8>>) -> Vec<Vec<u8>> {
    let rest = || std::iter::from_fn(|| queue.try_get().ok());
    let mut all: Vec<_> = rest().collect();
    queue.put(b"alive".to_vec()).expect("a queue that works");
    all.extend(rest());
    assert!(
        all.pop().is_some_and(|last| last == b"alive"),
        "the last one put is the last one"
    );
    all
}

fn queue_with(messages: &[Vec<u8>]) -> Queue<Vec<u8>> {
    let queue = Queue::unbounded().expect("a queue");
    queue.put_many(messages.iter().cloned()).expect("room");
    queue
}

fn put_and_die(before: &[Vec<u8>], message: &[u8]) {
    dies_at_every_step(
        || queue_with(before),
        |queue| queue.put(message.to_vec()).expect("room"),
        |queue, through| {
            let all = drain(queue);
            assert!(
                all[..before.len()] == *before,
                "what was there is still there, in order"
            );
            match &all[before.len()..] {
                [] => assert!(!through, "put returned, and the message is lost"),
                [one] => assert!(one == message, "the message is whole"),
                more => panic!("{} messages of one", more.len()),
            }
        },
    );
}

fn get_and_die(messages: &[Vec<u8>]) {
    dies_at_every_step(
        || queue_with(messages),
        |queue| assert!(queue.get().expect("a message") == messages[0]),
        |queue, through| {
            let all = drain(queue);
            // The message that was being taken is there or gone; all others are there.
            assert!(
                all == messages || all == messages[1..],
                "{} of {} left",
                all.len(),
                messages.len()
            );
            assert!(!through || all == messages[1..], "taken and still there");
        },
    );
}

#[test]
fn put_small() {
    put_and_die(&[], b"whole or not at all");
    put_and_die(&[b"before".to_vec()], &[7; 1000]);
}

#[test]
fn put_large() {
    put_and_die(&[b"before".to_vec()], &vec![7; 100_000]);
}

#[test]
fn put_across_a_segment() {
    // The queue's own first segment has no room for the message.
    put_and_die(&[vec![1; 1000], vec![2; 500]], &[3; 1000]);
}

#[test]
fn put_many() {
    dies_at_every_step(
        || queue_with(&[]),
        |queue| assert_eq!(queue.put_many((0..5u8).map(|n| vec![n; 300])).expect("room"), 5),
        |queue, through| {
            let all = drain(queue);
            assert!(!through || all.len() == 5);
            assert!(
                all.iter()
                    .enumerate()
                    .all(|(n, message)| *message == vec![n as u8; 300]),
                "a beginning, in order"
            );
        },
    );
}

#[test]
fn get_small() {
    get_and_die(&[b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn get_large() {
    get_and_die(&[vec![1; 100_000], vec![2; 100_000]]);
}

#[test]
fn get_across_a_segment() {
    let messages: Vec<_> = (0..20).map(|n| vec![n; 8000]).collect();
    dies_at_every_step(
        || queue_with(&messages),
        |queue| {
            for message in &messages[..12] {
                assert!(queue.get().expect("a message") == *message);
            }
        },
        |queue, through| {
            let all = drain(queue);
            let taken = messages.len() - all.len();
            assert!(all == messages[taken..], "the rest, in order");
            assert!(!through || taken == 12);
        },
    );
}

#[test]
fn a_queue_sent_through_a_queue() {
    dies_at_every_step(
        || {
            (
                Queue::<Queue<u32>>::unbounded().expect("a queue"),
                Queue::<u32>::unbounded().expect("a queue"),
            )
        },
        |(outer, inner)| outer.put(inner.clone()).expect("room"),
        |(outer, inner), through| match outer.try_get() {
            Ok(same) => {
                same.put(5).expect("room");
                assert_eq!(inner.get().expect("a message"), 5);
            }
            Err(error) => assert!(!through, "{error}"),
        },
    );
}

#[test]
fn a_queue_received_through_a_queue() {
    dies_at_every_step(
        || {
            let outer = Queue::<Queue<u32>>::unbounded().expect("a queue");
            outer.put(Queue::unbounded().expect("a queue")).expect("room");
            outer
        },
        |outer| drop(outer.get().expect("a message")),
        |outer, through| assert!(!through || outer.is_empty()),
    );
}

#[test]
fn making_and_dropping() {
    dies_at_every_step(
        || (),
        |()| {
            let queue = queue_with(&[vec![1; 10], vec![2; 20_000]]);
            let lock = Lock::new().expect("a lock");
            let other = Queue::unbounded().expect("a queue");
            other.put((queue, lock)).expect("room");
        },
        |(), _| {},
    );
}

#[test]
fn reserving() {
    dies_at_every_step(
        || ByteQueue::unbounded().expect("a queue"),
        |queue| {
            drop(queue.reserve(200_000).expect("memory"));
            let mut reserved = queue.reserve(150_000).expect("memory");
            reserved.fill(9);
            reserved.commit().expect("room");
        },
        |queue, through| match queue.try_get() {
            Ok(message) => assert!(message.len() == 150_000 && message.iter().all(|&b| b == 9)),
            Err(_) => assert!(!through),
        },
    );
}

#[test]
fn shutting_down_and_discarding() {
    dies_at_every_step(
        || queue_with(&[vec![1; 10], vec![2; 20_000], vec![3; 10]]),
        Queue::shutdown_now,
        |queue, through| {
            assert!(!through || queue.is_empty());
            queue.shutdown_now();
            assert!(queue.is_empty() && queue.try_put(vec![]).is_err());
        },
    );
}

#[test]
fn tasks() {
    dies_at_every_step(
        || {
            let queue = JoinableQueue::unbounded().expect("a queue");
            queue.put_many([1, 2]).expect("room");
            queue
        },
        |queue| {
            queue.get().expect("a message");
            queue.task_done().expect("a task");
        },
        |queue, through| {
            let left = queue.unfinished();
            assert!(
                if through {
                    left == 1
                } else {
                    left == 1 || left == 2
                },
                "{left}"
            );
            for _ in 0..left {
                queue.task_done().expect("a task");
            }
            queue.join().expect("all done");
        },
    );
}

#[test]
fn locks() {
    dies_at_every_step(
        || Lock::new().expect("a lock"),
        |lock| drop(lock.lock().expect("nobody holds it")),
        |lock, through| {
            match lock.lock_timeout(Duration::from_secs(30)) {
                Ok(_) => {}
                Err(LockError::OwnerDied { .. }) => assert!(!through),
                Err(error) => panic!("{error}"),
            }
            drop(lock.lock().expect("as usual from here on"));
        },
    );
}

#[test]
fn recursive_locks() {
    dies_at_every_step(
        || RLock::new().expect("a lock"),
        |lock| {
            let outer = lock.lock().expect("nobody holds it");
            let inner = lock.lock().expect("once more");
            drop((outer, inner));
        },
        |lock, through| {
            match lock.lock_timeout(Duration::from_secs(30)) {
                Ok(_) => {}
                Err(LockError::OwnerDied { guard, .. }) => {
                    assert!(!through);
                    assert!(lock.is_held_by_current_thread() && lock.depth() == 1);
                    drop(guard);
                }
                Err(error) => panic!("{error}"),
            }
            assert_eq!(lock.depth(), 0);
            drop(lock.lock().expect("as usual from here on"));
        },
    );
}

/// Checks a tracked queue when a consumer dies: exactly the items that it had taken and not finished are reported as
/// lost.
fn tracked_and_die(messages: &[Vec<u8>], finishes: usize) {
    dies_at_every_step(
        || {
            let queue = JoinableQueue::unbounded().expect("a queue");
            queue.track_consumers();
            queue.put_many(messages.iter().cloned()).expect("room");
            Tracked {
                queue,
                used: Cell::new(false),
            }
        },
        |tracked| {
            assert!(tracked.queue.get().expect("a message") == messages[0]);
            for _ in 0..finishes {
                tracked.queue.task_done().expect("a task");
            }
        },
        |tracked, through| {
            let rest: Vec<_> = std::iter::from_fn(|| tracked.queue.try_get().ok()).collect();
            assert!(
                rest == messages[messages.len() - rest.len()..],
                "the rest, in order"
            );
            assert!(rest.len() >= messages.len() - 1 && (!through || rest.len() < messages.len()));
            for _ in rest {
                tracked.queue.task_done().expect("its task");
            }
            tracked.used.set(true);
        },
    );
}

/// A tracked queue. If it was used, all its items must be finished or reported in the end.
struct Tracked {
    queue: JoinableQueue<Vec<u8>>,
    used: Cell<bool>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.used.get() && !std::thread::panicking() {
            // All dead processes are cleared up after.
            let lost = match self.queue.join_timeout(Duration::ZERO) {
                Ok(()) => 0,
                Err(Error::ConsumerDied { items }) => items as usize,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(self.queue.unfinished(), lost);
            assert!(lost <= 1);
        }
    }
}

#[test]
fn tracked_get_small() {
    tracked_and_die(&[b"first".to_vec(), b"second".to_vec()], 0);
}

#[test]
fn tracked_get_large() {
    tracked_and_die(&[vec![1; 100_000], vec![2; 100_000]], 0);
}

#[test]
fn tracked_get_across_a_segment() {
    tracked_and_die(&[vec![1; 1000], vec![2; 1000], vec![3; 100]], 0);
}

#[test]
fn tracked_tasks() {
    tracked_and_die(&[b"first".to_vec(), b"second".to_vec()], 1);
}

/// A dead process that is cleared up after on drop.
struct Corpse(&'static Heap, u32);

impl Drop for Corpse {
    fn drop(&mut self) {
        self.0.clear_up(self.1).expect("memory");
    }
}

/// Kills the survivor too, while it clears up.
#[test]
fn clearing_up() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || {
            let queue = queue_with(&[vec![1; 10]]);
            let semaphore = three();
            let tracked = JoinableQueue::unbounded().expect("a queue");
            tracked.track_consumers();
            tracked.put_many([1, 2, 3]).expect("room");
            // This process has the third permit, so that a permit that is returned twice is one too many.
            semaphore.acquire().expect("a permit").forget();
            let reserved = entry(heap);
            let dead = reserved.id;
            run_to(reserved, 0, || {
                // It dies with permits, items, a lock, a large block, a message and its own queue.
                for _ in 0..2 {
                    semaphore.acquire().expect("a permit").forget();
                    tracked.get().expect("an item");
                }
                let lock = Lock::new().expect("a lock");
                lock.lock().expect("free").forget();
                let own = queue_with(&[vec![1; 50_000], vec![2; 10]]);
                own.put(vec![3; 9000]).expect("room");
                let reserved = ByteQueue::unbounded()
                    .expect("a queue")
                    .reserve(70_000)
                    .expect("memory");
                core::mem::forget((lock, own, reserved));
            });
            heap.no_longer_wanted(dead).expect("memory");
            (queue, semaphore, tracked, Corpse(heap, dead))
        },
        |(.., dead)| heap.clear_up(dead.1).expect("memory"),
        |(queue, semaphore, tracked, dead), _| {
            heap.clear_up(dead.1).expect("memory");
            assert_eq!(drain(queue), [vec![1; 10]]);
            assert_eq!(count_permits(semaphore), (2, 2), "back, and told of as often");
            semaphore.release().expect("this process's own");
            assert_eq!(tracked.join(), Err(Error::ConsumerDied { items: 2 }));
        },
    );
}
