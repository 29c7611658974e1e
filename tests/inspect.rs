//! Inspection: what each process holds, which threads wait, and deadlocks.

mod common;

use common::{A_WHILE, METHODS, alone, until, watchdog};
use procession::{
    Inspection, JoinableQueue, Lock, LockError, ObjectReport, Process, Queue, RLock, Semaphore, inspect,
};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// Runs a test in a program of its own, so that it sees nothing of the other tests.
macro_rules! alone_tests {
    ($($name:ident => $body:ident;)*) => {$(
        #[procession::test]
        fn $name() {
            let _watchdog = watchdog();
            alone(stringify!($name), $body);
        }
    )*};
}

alone_tests! {
    what_processes_hold => holding;
    permits_and_unfinished_items_are_somebodys => counting;
    who_waits_and_for_what => waiting;
    two_processes_deadlock => two;
    a_circle_of_many => many;
    a_thread_that_waits_for_itself => itself;
    recursive_locks_deadlock_too => recursive;
    waiting_for_somebody_at_work_is_no_deadlock => chain;
    the_death_of_one_ends_a_deadlock => broken_by_death;
    inspecting_while_everything_changes => stormy;
}

fn of_kind<'i>(seen: &'i Inspection, kind: &str) -> &'i ObjectReport {
    let mut all = seen.objects.iter().filter(|object| object.kind == kind);
    let found = all.next().unwrap_or_else(|| panic!("no {kind} in {seen}"));
    assert!(all.next().is_none(), "one {kind}: {seen}");
    found
}

fn figure(object: &ObjectReport, name: &str) -> u64 {
    let found = object.figures.iter().find(|figure| figure.0 == name);
    found.unwrap_or_else(|| panic!("no {name} in {object}")).1
}

fn hold(lock: Lock, held: Queue<u32>, over: Queue<u32>) {
    let _guard = lock.lock().unwrap();
    held.put(std::process::id()).unwrap();
    held.put(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned())
        .unwrap();
    let _ = over.get();
}

fn holding() {
    for method in METHODS {
        let (lock, held, over) = (
            Lock::new().unwrap(),
            Queue::bounded(5).unwrap(),
            Queue::unbounded().unwrap(),
        );
        held.put(7).unwrap();
        let child = Process::builder()
            .name("holder")
            .method(method)
            .spawn(hold, (lock.clone(), held.clone(), over.clone()))
            .unwrap();
        assert_eq!(held.get().unwrap(), 7);
        let (pid, thread) = (held.get().unwrap(), held.get().unwrap());
        held.put(8).unwrap();
        let seen = inspect().unwrap();
        let process = seen.processes.iter().find(|it| it.pid == pid).expect("the child");
        assert_eq!(
            (process.name.as_str(), process.parent),
            ("holder", std::process::id())
        );
        let it = of_kind(&seen, "lock");
        let holder = it.holder.as_ref().expect("it is held");
        assert_eq!(
            (holder.pid, holder.process.as_str(), holder.thread),
            (pid, "holder", thread)
        );
        let users: BTreeSet<u32> = it.users.iter().map(|user| user.pid).collect();
        assert_eq!(users, [pid, std::process::id()].into());
        let full = seen
            .objects
            .iter()
            .find(|it| it.kind == "queue" && figure(it, "messages") == 1);
        assert_eq!(figure(full.expect("the queue with a message"), "capacity"), 5);
        over.put(0).unwrap();
        child.join().unwrap();
    }
    let seen = inspect().unwrap();
    assert!(
        seen.objects
            .iter()
            .all(|it| it.kind != "lock" && it.kind != "queue"),
        "{seen}"
    );
}

fn counting() {
    let semaphore = Semaphore::bounded(5).unwrap();
    let jobs = JoinableQueue::unbounded().unwrap();
    jobs.track_consumers();
    jobs.put_many([1, 2, 3]).unwrap();
    semaphore.acquire().unwrap().forget();
    semaphore.acquire().unwrap().forget();
    jobs.get().unwrap();
    let seen = inspect().unwrap();
    let me = std::process::id();
    let has = |object: &ObjectReport| {
        object
            .users
            .iter()
            .map(|user| (user.pid, user.has))
            .collect::<Vec<_>>()
    };
    let it = of_kind(&seen, "semaphore");
    assert_eq!((figure(it, "value"), has(it)), (3, vec![(me, 2)]));
    let it = of_kind(&seen, "queue");
    assert_eq!((figure(it, "unfinished"), has(it)), (3, vec![(me, 1)]));
}

fn take_one(queue: Queue<u32>) -> u32 {
    queue.get().unwrap()
}

fn waiting() {
    let queue = Queue::unbounded().unwrap();
    let child = Process::builder()
        .name("hungry")
        .spawn(take_one, queue.clone())
        .unwrap();
    let waits = || {
        let seen = inspect().unwrap();
        let wait = seen
            .waits
            .iter()
            .find(|wait| wait.who.process == "hungry")
            .cloned();
        wait.inspect(|wait| assert_eq!(wait.object, of_kind(&seen, "queue").number))
    };
    until(|| waits().is_some());
    let first = waits().expect("it waits still");
    assert_eq!(
        (first.what, first.kind, first.who.pid),
        ("get", "queue", child.pid())
    );
    thread::sleep(A_WHILE);
    assert!(waits().expect("it waits still").waited >= first.waited + A_WHILE);
    queue.put(3).unwrap();
    assert_eq!(child.join().unwrap(), 3);
    assert!(inspect().unwrap().waits.is_empty());
}

/// Takes its own lock, waits until all processes have theirs, and asks for the lock of the next process.
fn stand_in_circle(mine: Lock, next: Lock, ready: Queue<u32>, go: Queue<u32>) -> &'static str {
    let _mine = mine.lock().unwrap();
    ready.put(std::process::id()).unwrap();
    go.get().unwrap();
    match next.lock() {
        Ok(_) => "clean",
        Err(LockError::OwnerDied { .. }) => "inherited",
        Err(_) => "neither",
    }
}

/// Starts processes that each wait for the lock of the next. They are daemons, because they never end.
fn circle(n: usize) -> Vec<Process<String>> {
    fn stand(mine: Lock, next: Lock, ready: Queue<u32>, go: Queue<u32>) -> String {
        stand_in_circle(mine, next, ready, go).to_owned()
    }
    let locks: Vec<_> = (0..n).map(|_| Lock::new().unwrap()).collect();
    let (ready, go) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
    let processes = (0..n)
        .map(|i| {
            let locks = (locks[i].clone(), locks[(i + 1) % n].clone());
            Process::builder()
                .name(format!("philosopher {i}"))
                .method(METHODS[i % 3])
                .daemon(true)
                .spawn(stand, (locks.0, locks.1, ready.clone(), go.clone()))
                .unwrap()
        })
        .collect();
    for _ in 0..n {
        ready.get().unwrap();
    }
    assert!(
        inspect().unwrap().deadlocks.is_empty(),
        "nobody waits for a lock yet"
    );
    go.put_many(vec![0; n]).unwrap();
    until(|| !inspect().unwrap().deadlocks.is_empty());
    processes
}

fn found(processes: &[Process<String>]) {
    let seen = inspect().unwrap();
    assert_eq!(seen.deadlocks.len(), 1, "{seen}");
    let deadlock = &seen.deadlocks[0];
    let (there, expected): (BTreeSet<u32>, BTreeSet<u32>) = (
        deadlock.waits.iter().map(|wait| wait.who.pid).collect(),
        processes.iter().map(Process::pid).collect(),
    );
    assert_eq!(there, expected);
    for (i, wait) in deadlock.waits.iter().enumerate() {
        let lock = seen
            .objects
            .iter()
            .find(|it| it.number == wait.object)
            .expect("its lock");
        let next = &deadlock.waits[(i + 1) % deadlock.waits.len()].who;
        assert_eq!(
            lock.holder.as_ref(),
            Some(next),
            "each waits for what the next one holds"
        );
    }
    let text = deadlock.to_string();
    for process in processes {
        assert!(
            text.contains(&format!("{} (pid {}", process.name(), process.pid())),
            "{text}"
        );
    }
}

fn two() {
    found(&circle(2));
}

fn many() {
    found(&circle(7));
}

fn itself() {
    let lock = Lock::new().unwrap();
    let _guard = lock.lock().unwrap();
    let waited = lock.lock_timeout(Duration::ZERO);
    assert!(matches!(waited, Err(LockError::Timeout)));
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            // The main thread holds it, and runs: no deadlock.
            until(|| inspect().unwrap().deadlocks.is_empty());
            let mine = Lock::new().unwrap();
            let _guard = mine.lock().unwrap();
            assert!(mine.lock_timeout(Duration::from_secs(2)).is_err());
        });
        until(|| {
            let seen = inspect().unwrap();
            let alone = seen.deadlocks.iter().any(|deadlock| deadlock.waits.len() == 1);
            alone || other.is_finished()
        });
        assert!(!other.is_finished(), "it was seen before its time was up");
    });
}

fn recursive() {
    let locks = [RLock::new().unwrap(), RLock::new().unwrap()];
    let gate = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        let cross = |mine: usize| {
            let (locks, gate) = (&locks, &gate);
            scope.spawn(move || {
                let _once = locks[mine].lock().unwrap();
                let _again = locks[mine].lock().unwrap();
                gate.wait();
                let _ = locks[1 - mine].lock_timeout(Duration::from_secs(3));
            })
        };
        let threads = [cross(0), cross(1)];
        until(|| {
            !inspect().unwrap().deadlocks.is_empty()
                || threads.iter().all(thread::ScopedJoinHandle::is_finished)
        });
        let seen = inspect().unwrap();
        let deadlock = seen
            .deadlocks
            .first()
            .unwrap_or_else(|| panic!("not seen: {seen}"));
        let parties: BTreeSet<_> = deadlock
            .waits
            .iter()
            .map(|wait| (wait.who.pid, wait.who.thread))
            .collect();
        assert_eq!(parties.len(), 2, "two threads of one process: {deadlock}");
    });
}

/// Checks a chain without a circle: A waits for B, B waits for C, and C works.
fn chain() {
    let locks: Vec<_> = (0..3).map(|_| Lock::new().unwrap()).collect();
    let _work = locks[2].lock().unwrap();
    let everybody_has = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        for i in 0..2 {
            let (locks, everybody_has) = (&locks, &everybody_has);
            scope.spawn(move || {
                let _mine = locks[i].lock().unwrap();
                everybody_has.wait();
                let _ = locks[i + 1].lock_timeout(Duration::from_secs(1));
            });
        }
        until(|| {
            let seen = inspect().unwrap();
            assert!(seen.deadlocks.is_empty(), "{seen}");
            seen.waits.len() == 2
        });
    });
}

fn broken_by_death() {
    let processes = circle(3);
    processes[1].kill().unwrap();
    until(|| inspect().unwrap().deadlocks.is_empty());
    let mut processes = processes.into_iter();
    let before = processes.next().expect("three");
    assert!(processes.next().expect("three").join().is_err());
    assert_eq!(before.join().unwrap(), "inherited");
}

/// Makes, takes and drops objects without a pause for a while.
fn bustle(queue: Queue<u32>, lock: Lock, rounds: u32) {
    for n in 0..rounds {
        let _guard = lock.lock().unwrap();
        let own: Queue<Queue<u32>> = Queue::unbounded().unwrap();
        own.put(queue.clone()).unwrap();
        queue.put(n).unwrap();
        let _ = own.get().unwrap().get().unwrap();
        let _ = Semaphore::new(3).unwrap().acquire().unwrap();
    }
}

fn stormy() {
    let (queue, lock) = (Queue::unbounded().unwrap(), Lock::new().unwrap());
    let rounds = 3000;
    let processes: Vec<_> = (0..4)
        .map(|i| {
            let args = (queue.clone(), lock.clone(), rounds);
            Process::builder()
                .method(METHODS[i % 3])
                .spawn(bustle, args)
                .unwrap()
        })
        .collect();
    let mut looks = 0;
    while processes.iter().any(Process::is_alive) {
        let seen = inspect().unwrap();
        assert!(seen.deadlocks.is_empty(), "{seen}");
        looks += 1;
    }
    assert!(looks > 10, "only {looks} looks");
    for process in processes {
        process.join().unwrap();
    }
}
