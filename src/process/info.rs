//! What is known of a process of the program, and who this one and its parent are.

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
    fn of(heap: &Heap, id: u32) -> Option<Self> {
        let daemon = heap.entry_of(id)?.flags.load(Ordering::Relaxed) & DAEMON != 0;
        Some(Self {
            id,
            pid: heap.pid_of(id),
            name: heap.name_of(id),
            daemon,
        })
    }

    pub(super) fn of_child(child: &Child) -> Self {
        Self {
            id: child.id,
            pid: child.pid,
            name: child.name.clone(),
            daemon: child.daemon,
        }
    }

    /// Its number in the system.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name; the first process is called `main`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it ends with its parent and may not have children.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Whether it lives. Costs a few system calls.
    pub fn is_alive(&self) -> bool {
        Heap::existing().is_some_and(|heap| heap.alive(self.id))
    }
}

/// This process.
///
/// # Errors
///
/// What the system said when the program's shared memory was set up.
pub fn current() -> Result<ProcessInfo> {
    let heap = crate::program::heap()?;
    ProcessInfo::of(heap, heap.me()).ok_or_else(|| Error::BadHeap("this process has no entry".to_owned()))
}

/// The process that started this one; `None` in the program's first process, or if its entry is gone.
///
/// ```
/// assert!(procession::parent().is_none());
/// ```
pub fn parent() -> Option<ProcessInfo> {
    let heap = Heap::existing()?;
    let parent = heap.entry_of(heap.me())?.parent.load(Ordering::Relaxed) as u32;
    ProcessInfo::of(heap, parent)
}

/// Processors this process may run on, at least one (`sched_getaffinity` and cgroup limits are respected).
pub fn cpu_count() -> usize {
    os::processor::count()
}

/// Whether this process is a daemon.
pub(super) fn am_daemon(heap: &Heap) -> bool {
    heap.entry(index_of(heap.me())).flags.load(Ordering::Relaxed) & DAEMON != 0
}
