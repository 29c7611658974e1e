//! What is known of a process of the program, and which processes this one and its parent are.

use super::known::Child;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::table::{DAEMON, index_of};
use crate::os;
use crate::wait::atomic::Ordering;

/// What is known of a process of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    id: u32,
    pid: u32,
    name: String,
    daemon: bool,
}

impl ProcessInfo {
    /// Reads the entry of a process; `None` if the entry is gone.
    fn of(heap: &Heap, id: u32) -> Option<Self> {
        let daemon = heap.entry_of(id)?.flags.load(Ordering::Relaxed) & DAEMON != 0;
        Some(Self {
            id,
            pid: heap.pid_of(id),
            name: heap.name_of(id),
            daemon,
        })
    }

    /// Returns what this process knows of its child.
    pub(super) fn of_child(child: &Child) -> Self {
        Self {
            id: child.id,
            pid: child.pid,
            name: child.name.clone(),
            daemon: child.daemon,
        }
    }

    /// Returns the process's number in the system.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the process's name. The first process is called `main`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the process ends with its parent and may not have children.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Returns whether the process lives. Costs a few system calls.
    pub fn is_alive(&self) -> bool {
        Heap::existing().is_some_and(|heap| heap.alive(self.id))
    }
}

/// Returns this process.
///
/// # Errors
///
/// The system's error, if this call has to make the program's shared memory and cannot.
pub fn current() -> Result<ProcessInfo> {
    let heap = crate::program::heap()?;
    ProcessInfo::of(heap, heap.me()).ok_or_else(|| Error::BadHeap("this process has no entry".to_owned()))
}

/// Returns the process that started this one; `None` in the program's first process, or if the parent's entry is
/// gone.
///
/// ```
/// assert!(procession::parent().is_none());
/// ```
pub fn parent() -> Option<ProcessInfo> {
    let heap = Heap::existing()?;
    let parent = heap.entry_of(heap.me())?.parent.load(Ordering::Relaxed) as u32;
    ProcessInfo::of(heap, parent)
}

/// Returns the number of processors this process may run on, at least one (`sched_getaffinity` and cgroup limits are
/// respected).
pub fn cpu_count() -> usize {
    os::processor::count()
}

/// Returns whether this process is a daemon.
pub(super) fn am_daemon(heap: &Heap) -> bool {
    heap.entry(index_of(heap.me())).flags.load(Ordering::Relaxed) & DAEMON != 0
}
