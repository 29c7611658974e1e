//! This process's children, and who it is itself.

use super::error::ExitStatus;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::internal;
use crate::heap::table::{DAEMON, index_of};
use crate::os;
use crate::os::clock::Deadline;
use crate::os::kept::Kept;
use crate::wait::BACKSTOP;
use crate::wait::atomic::Ordering;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicPtr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long to sleep at first between looks at a child whose end nothing tells, in nanoseconds.
const PAUSE: u64 = 1_000_000;

/// A child of this process, however it was started.
pub(super) struct Child {
    pub heap: &'static Heap,
    /// Owner id.
    pub id: u32,
    pub pid: u32,
    /// `None` if it had ended before its descriptor could be had.
    pub pidfd: Option<Kept>,
    pub name: String,
    pub daemon: bool,
    /// A fork server's child, which reaps it and writes its status into the table.
    pub via_server: bool,
    /// How it ended, and whether it got as far as its function.
    pub end: Mutex<Option<(ExitStatus, bool)>>,
}

impl Child {
    /// Waits until it has ended, reaps it and clears up after it; `None` at the deadline.
    pub(super) fn wait(&self, deadline: Deadline) -> Result<Option<(ExitStatus, bool)>> {
        let mut pause = PAUSE;
        loop {
            if let Some(end) = self.end_now()? {
                return Ok(Some(end));
            }
            if deadline.passed() {
                return Ok(None);
            }
            // Waiting happens outside the lock, so that one thread's deadline is not another's.
            let pidfd = self.pidfd();
            // Somebody may wait for what this process could not give up.
            self.heap.give_up_postponed();
            let slice = if self.heap.has_postponed() {
                Deadline::At(deadline.within(BACKSTOP))
            } else {
                deadline
            };
            let readable = pidfd.is_some_and(|pidfd| pause == PAUSE && os::pid::wait_dead(pidfd, slice));
            if (!readable && pidfd.is_none()) || pause > PAUSE {
                // There is nothing to wait for but its status: it has no descriptor, or is dead and its status not to be had
                // yet, because a debugger has it.
                os::clock::sleep_until(deadline.within(pause));
            }
            if pidfd.is_none() || readable {
                pause = (2 * pause).min(20 * PAUSE);
            }
        }
    }

    /// How it ended, if it has; then it is reaped and cleared up after.
    fn end_now(&self) -> Result<Option<(ExitStatus, bool)>> {
        let mut known = self.lock();
        if known.is_some() {
            return Ok(*known);
        }
        let status = if self.via_server {
            self.status_via_server()
        } else {
            self.reap()
        };
        let Some(status) = status else { return Ok(None) };
        let started = self
            .heap
            .entry_of(self.id)
            .is_none_or(|e| e.started.load(Ordering::Acquire) != 0);
        *known = Some((status, started));
        drop(known);
        // Beside somebody who is stopped in the middle of a change, it is left to whoever looks after the dead next.
        match internal::until(Deadline::Now, || self.heap.clear_up(self.id)) {
            Err(Error::OwnerStopped { .. }) => {}
            cleared => cleared?,
        }
        Ok(Some((status, started)))
    }

    /// Its descriptor, had again where the program closed it; none if it has ended.
    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        let kept = self.pidfd.as_ref()?;
        if kept.get().is_none() {
            let end = self.lock();
            if end.is_none()
                && kept.get().is_none()
                && self.heap.alive(self.id)
                && let Ok(again) = os::pid::open(self.pid)
            {
                kept.keep(again);
            }
        }
        kept.get()
    }

    fn lock(&self) -> MutexGuard<'_, Option<(ExitStatus, bool)>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a child of ours ended; `None` while it runs.
    fn reap(&self) -> Option<ExitStatus> {
        match os::pid::reap(self.pid) {
            Ok(status) => status.map(ExitStatus::from_wait),
            // Somebody else has collected it.
            Err(_) => (!self.heap.alive(self.id)).then_some(ExitStatus::Unknown),
        }
    }

    /// The status that the fork server writes a moment after the end; unknown if the fork server is gone. `None` while it runs.
    fn status_via_server(&self) -> Option<ExitStatus> {
        let entry = self.heap.entry_of(self.id);
        if entry.is_some_and(|entry| entry.status.load(Ordering::Acquire) == 0) && self.heap.alive(self.id) {
            return None;
        }
        let end = Deadline::At(os::clock::now() + BACKSTOP);
        while let Some(entry) = self.heap.entry_of(self.id) {
            let phase = entry.phase.load(Ordering::Acquire);
            match entry.status.load(Ordering::Acquire) {
                0 if end.passed() => break,
                0 => {
                    entry.phase.futex_wait(phase, end.within(BACKSTOP));
                }
                status => return Some(ExitStatus::from_wait(status as i32 - 1)),
            }
        }
        Some(ExitStatus::Unknown)
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        if let Some(pidfd) = self.pidfd()
            && os::pid::kill(pidfd, signal).is_ok()
        {
            return Ok(());
        }
        // There is no descriptor of it. As long as it is not collected, nobody else has its number.
        match self.end_now()? {
            Some(_) => Ok(()),
            None => os::pid::kill_by_number(self.pid, signal),
        }
    }

    pub(super) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            id: self.id,
            pid: self.pid,
            name: self.name.clone(),
            daemon: self.daemon,
        }
    }
}

/// The list of children. A forked child of ours starts with a new, empty one: the old may be locked by a thread that does
/// not exist there, and is left alone.
static CHILDREN: AtomicPtr<Mutex<Vec<Arc<Child>>>> = AtomicPtr::new(core::ptr::null_mut());

#[allow(unsafe_code)]
fn children() -> MutexGuard<'static, Vec<Arc<Child>>> {
    let mut list = CHILDREN.load(Ordering::Acquire);
    if list.is_null() {
        let new = Box::into_raw(Box::default());
        list = match CHILDREN.compare_exchange(list, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY: made above and seen by nobody, since the exchange failed.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
    }
    // SAFETY: not null, from `Box::into_raw`, and never freed.
    unsafe { &*list }.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In a forked child: it has no children, and its parent's lifeline is not its own.
pub(super) fn reset() {
    CHILDREN.store(core::ptr::null_mut(), Ordering::Release);
    os::signal::forget_all();
    LIFELINE_READ.close();
    LIFELINE_WRITE.close();
}

/// The pipe that ends our daemons with us: the end they watch, and the end that breaks.
static LIFELINE_READ: Kept = Kept::none();
static LIFELINE_WRITE: Kept = Kept::none();

/// The descriptor that a daemon of ours watches.
pub(super) fn lifeline() -> Result<BorrowedFd<'static>> {
    // No child may be forked that has the end that breaks and does not know.
    let _steady = crate::heap::fork::steady();
    crate::heap::fork::on_child(reset);
    let _one_at_a_time = children();
    match (LIFELINE_READ.get(), LIFELINE_WRITE.get()) {
        (Some(_), Some(_)) => {}
        // Our daemons depend on this end, so it stays.
        (None, Some(write)) => LIFELINE_READ.keep(os::lifeline::other_end(write)?),
        // None yet, or the program closed it, and our daemons with it.
        (_, None) => {
            let (read, write) = os::lifeline::lifeline()?;
            LIFELINE_READ.keep(read);
            LIFELINE_WRITE.keep(write);
        }
    }
    LIFELINE_READ.get_or_lost("the pipe that ends daemons with this process")
}

/// A copy of it for a forked daemon, in which the original is closed.
pub(crate) fn lifeline_copy() -> Result<OwnedFd> {
    os::descriptor::duplicate(lifeline()?)
}

/// Enters a new child.
pub(super) fn add(child: Arc<Child>) {
    children().push(child);
}

/// Forgets a child that has ended.
pub(super) fn remove(id: u32) {
    children().retain(|child| child.id != id);
}

/// Reaps a few of the children that have ended and whose handles are gone, in turn.
pub(super) fn tidy() {
    static TURN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    for _ in 0..4 {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let some = {
            let list = children();
            if list.is_empty() {
                None
            } else {
                Some(list[turn % list.len()].clone())
            }
        };
        if let Some(child) = some
            && Arc::strong_count(&child) <= 2
            && matches!(child.wait(Deadline::Now), Ok(Some(_)))
        {
            remove(child.id);
        }
    }
}

/// Takes all children off the list, at the end of this process.
pub(super) fn take_all() -> Vec<Arc<Child>> {
    core::mem::take(&mut *children())
}

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

/// The children of this process that run. Those that have ended are reaped on the way.
pub fn active_children() -> Vec<ProcessInfo> {
    let all = children().clone();
    let (dead, alive): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|child| matches!(child.wait(Deadline::Now), Ok(Some(_))));
    for child in &dead {
        remove(child.id);
    }
    alive.iter().map(|child| child.info()).collect()
}

/// Processors this process may run on, at least one (`sched_getaffinity` and cgroup limits are respected).
pub fn cpu_count() -> usize {
    os::processor::count()
}

/// Whether this process is a daemon.
pub(super) fn am_daemon(heap: &Heap) -> bool {
    heap.entry(index_of(heap.me())).flags.load(Ordering::Relaxed) & DAEMON != 0
}

/// A borrowed view of a child's pidfd.
pub(super) fn pidfd(child: &Child) -> Option<BorrowedFd<'_>> {
    child.pidfd()
}
