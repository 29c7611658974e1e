//! Seeing what a program does: its processes, what they share, and what waits for what.
//!
//! `gather` reads the heap, and `deadlock` finds threads that wait for each other. Nothing here changes anything. The
//! only thing recorded for it is what a thread writes down before it goes to sleep.

mod deadlock;
mod display;
mod gather;

use crate::error::Result;
use serde::Serialize;
use std::time::Duration;

/// What a program looked like a moment ago: see [`inspect`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The living processes.
    pub processes: Vec<ProcessReport>,
    /// The objects that they refer to: queues, locks, values, messages on their way.
    pub objects: Vec<ObjectReport>,
    /// The threads that wait, and what they wait for.
    pub waits: Vec<WaitReport>,
    /// Threads that wait for each other, for ever.
    pub deadlocks: Vec<Deadlock>,
}

/// A process of the program.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ProcessReport {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The process id of its parent, 0 if that is gone (or there is none).
    pub parent: u32,
    /// Whether it ends with its parent.
    pub daemon: bool,
    /// The number of objects and messages that it refers to.
    pub holds: usize,
}

/// An object that processes share.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ObjectReport {
    /// A number that no other object of the program ever has.
    pub number: u64,
    /// What it is: "queue", "lock", …
    pub kind: &'static str,
    /// The number of references to it, those in messages included.
    pub references: u64,
    /// The thread that holds it, as a lock is held.
    pub holder: Option<Party>,
    /// Its state in numbers: a queue's messages, a semaphore's value.
    pub figures: Vec<(&'static str, u64)>,
    /// The processes that refer to it.
    pub users: Vec<User>,
}

/// A process that refers to an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct User {
    /// Its process id.
    pub pid: u32,
    /// What the process has of the object, where that is counted: permits of a semaphore, unfinished items of a queue
    /// that tracks its consumers. It is negative for a process that released more than it acquired.
    pub has: i64,
}

/// A thread of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Party {
    /// Its process id.
    pub pid: u32,
    /// The process's name.
    pub process: String,
    /// The thread's number (gettid(2), which is the process id in the main thread); 0 if it is not known.
    pub thread: u32,
}

/// A thread that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaitReport {
    /// The thread.
    pub who: Party,
    /// The number of the object it waits for.
    pub object: u64,
    /// What the object is.
    pub kind: &'static str,
    /// What it wants from the object: "lock", "get", "put", …
    pub what: &'static str,
    /// How long it has waited.
    pub waited: Duration,
}

/// Threads that wait for each other: each waits for a lock that the next one holds, and the last for one that the
/// first holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Deadlock {
    /// The waits. Each thread waits for what the next one holds, the last for what the first one holds.
    pub waits: Vec<WaitReport>,
}

/// Reports on the program: its processes, what they share, which thread holds what, what each thread waits for, and
/// whether threads wait for each other.
///
/// Any process may call this at any time, and sees all of them. Each process is read at a different moment, so the
/// parts may contradict each other in a busy program. A reported deadlock is real: it was seen twice, with no change
/// in between. Deadlocks are found among `Lock` and `RLock` (and the lock of a `Condition`), which have a holder. A
/// lock that a thread other than its holder is going to release, as a signal, looks the same. Permits of semaphores
/// have no holder that a thread could wait for.
///
/// The time it takes is proportional to what the program's processes refer to. It delays no other thread for more
/// than some microseconds.
///
/// # Errors
///
/// The system's error, if this call has to make the program's shared memory and cannot.
///
/// ```
/// let lock = procession::Lock::new()?;
/// let _guard = lock.lock()?;
/// let seen = procession::inspect()?;
/// let it = seen.objects.iter().find(|object| object.kind == "lock").expect("it is there");
/// assert_eq!(it.holder.as_ref().expect("this process holds it").pid, std::process::id());
/// assert!(seen.deadlocks.is_empty());
/// println!("{seen}");
/// # Ok::<(), procession::Error>(())
/// ```
pub fn inspect() -> Result<Inspection> {
    let heap = crate::program::heap()?;
    let first = gather::gather(heap)?;
    let suspected = deadlock::cycles(&first);
    let confirmed = if suspected.is_empty() {
        suspected
    } else {
        // A thread whose wait began at the same moment has not run in between, and so has not released anything.
        let again = deadlock::cycles(&gather::gather(heap)?);
        suspected
            .into_iter()
            .filter(|cycle| again.contains(cycle))
            .collect()
    };
    Ok(first.report(&confirmed))
}
