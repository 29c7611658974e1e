//! Waiting for several things over and over.

use super::bridge::Bridge;
use super::source::{SourceKind, Waitable};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::registration::{EventSource, NUMBERS, ReadySet, Registration};
use crate::heap::waiter::Purpose;
use crate::os::clock::{self, Deadline};
use crate::os::futex::Wake;
use crate::os::kept::Kept;
use crate::os::ready::{Added, Epoll};
use crate::wait::interrupt::{interrupted, longest_sleep};
use crate::wait::sleeper::Sleeper;
use crate::wait::{BACKSTOP, spin};
use core::fmt;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Names a member of a [`Selector`]: [`add`](Selector::add) returns it, and [`wait`](Selector::wait) those of ready
/// members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    slot: u32,
    /// Tells the member from others that had the slot before.
    serial: u32,
}

impl Key {
    /// Returns how many members were added before this one, if none was ever removed.
    pub(super) fn index(self) -> usize {
        self.slot as usize
    }
}

/// Waits for any of several things, in a loop: queues, processes, sockets, in any mixture.
///
/// A selector is told what became ready, and does not go looking for it: waiting for a thousand queues costs as much
/// as waiting for ten. Readiness is a matter of *level*: a member that was ready and is not drained is ready again
/// the next time. Every wait returns all ready members, in changing order, so none is starved.
///
/// * **Members** are [`Waitable`]s. A queue or a process stays alive in the selector. A socket or another descriptor
///   does not: [remove](Self::remove) it before you close it.
/// * **A thread** is started when a selector that has both descriptors and other members has to sleep for the first
///   time. It ends with the selector. No other selector has a thread.
/// * **Deaths** of processes, at any moment, delay others by at most a second.
/// * **Forks**: in a forked child the copy of a selector is a selector of its own, with the same members.
///
/// ```
/// use procession::{Process, Queue, Selector};
///
/// fn work(jobs: Queue<u32>, results: Queue<u32>) {
///     jobs.iter().for_each(|n| results.put(n * n).unwrap());
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let (jobs, results) = (Queue::unbounded()?, Queue::unbounded()?);
///     let worker = Process::spawn(work, (jobs.clone(), results.clone()))?;
///     jobs.put_many(1..=3)?;
///     jobs.shutdown();
///
///     let mut selector = Selector::new()?;
///     let (result, end) = (selector.add(&results)?, selector.add(&worker)?);
///     let mut sum = 0;
///     loop {
///         let ready = selector.wait()?;
///         if ready.contains(&result) {
///             sum += results.try_get()?;
///         } else if ready.contains(&end) {
///             break; // it has ended, and no result is left
///         }
///     }
///     assert_eq!(sum, 14);
///     worker.join()
/// }
/// ```
pub struct Selector {
    heap: &'static Heap,
    /// The process that the members' registrations belong to: in a forked child, its parent.
    owner: u32,
    members: Vec<Option<Member>>,
    free: Vec<u32>,
    serial: u32,
    /// Slots of members to check: those that were ready when last checked, and those marked in the ready set since.
    hot: VecDeque<u32>,
    ready_set: Option<ReadySet>,
    epoll: Option<Epoll>,
    bridge: Option<Bridge>,
    /// The slots that each descriptor stands for.
    slots: HashMap<RawFd, Vec<u32>>,
    /// When every member was last checked.
    looked: u64,
    descriptors_first: bool,
}

struct Member {
    serial: u32,
    /// True while its slot is in `hot`.
    hot: bool,
    what: What,
}

enum What {
    Object {
        // Declared before the object, because it must be dropped first.
        registration: Registration,
        thing: Box<dyn EventSource>,
    },
    Descriptor(RawFd),
    Sentinel(Kept),
    Always,
    /// A descriptor that was closed, and whose number stands for another one by now.
    Closed,
}

impl What {
    fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Descriptor(fd) => Some(*fd),
            Self::Sentinel(fd) => fd.number(),
            _ => None,
        }
    }

    /// Returns true if the member is ready. If not, the selector will be told when it is.
    fn is_ready(&self) -> bool {
        match self {
            Self::Object { thing, .. } => {
                thing.is_ready() || {
                    thing.event_count().mark_registered();
                    thing.is_ready()
                }
            }
            Self::Always => true,
            _ => false,
        }
    }
}

impl Selector {
    /// Makes a selector without members.
    ///
    /// # Errors
    ///
    /// What the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        let heap = crate::program::heap()?;
        Ok(Self {
            heap,
            owner: heap.me(),
            members: Vec::new(),
            free: Vec::new(),
            serial: 0,
            hot: VecDeque::new(),
            ready_set: None,
            epoll: None,
            bridge: None,
            slots: HashMap::new(),
            looked: clock::now(),
            descriptors_first: false,
        })
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.members.len() - self.free.len()
    }

    /// Returns true if the selector has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a member. The same thing may be added more than once, and to several selectors.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::TooManyObjects`]; [`Error::Os`] if the system refuses a descriptor.
    pub fn add<W: Waitable + ?Sized>(&mut self, thing: &W) -> Result<Key> {
        self.rebind_after_fork()?;
        let slot = self.free.pop().unwrap_or(self.members.len() as u32);
        let what = match self.take_in(slot, thing.source().0) {
            Ok(what) => what,
            Err(error) => {
                if (slot as usize) < self.members.len() {
                    self.free.push(slot);
                }
                return Err(error);
            }
        };
        self.serial = self.serial.wrapping_add(1);
        let hot = what.descriptor().is_none();
        let member = Some(Member {
            serial: self.serial,
            hot,
            what,
        });
        if hot {
            self.hot.push_back(slot);
        }
        match self.members.get_mut(slot as usize) {
            Some(place) => *place = member,
            None => self.members.push(member),
        }
        Ok(Key {
            slot,
            serial: self.serial,
        })
    }

    fn take_in(&mut self, slot: u32, source: SourceKind<'_>) -> Result<What> {
        Ok(match source {
            SourceKind::Object(thing) => {
                let ready_set = match &self.ready_set {
                    Some(ready_set) => ready_set,
                    None => self.ready_set.insert(ReadySet::new(self.heap)?),
                };
                What::Object {
                    registration: Registration::new(ready_set, slot as usize, thing)?,
                    thing: thing.keep(),
                }
            }
            SourceKind::Descriptor(fd) => match self.add_descriptor(slot, fd.as_raw_fd())? {
                Added::Always => What::Always,
                _ => What::Descriptor(fd.as_raw_fd()),
            },
            SourceKind::Sentinel(fd) => {
                let own = fd.try_clone_to_owned()?;
                self.add_descriptor(slot, own.as_raw_fd())?;
                What::Sentinel(Kept::new(own))
            }
            SourceKind::Always => What::Always,
        })
    }

    /// Adds a descriptor to the epoll instance, for the member in `slot`.
    fn add_descriptor(&mut self, slot: u32, fd: RawFd) -> Result<Added> {
        let set = match &self.epoll {
            Some(set) => set,
            None => self.epoll.insert(Epoll::new()?),
        };
        let added = set.add(fd)?;
        if added != Added::Always {
            let slots = self.slots.entry(fd).or_default();
            if added == Added::New {
                // The descriptor that had this number before was closed.
                for gone in slots.drain(..) {
                    if let Some(member) = &mut self.members[gone as usize] {
                        member.what = What::Closed;
                    }
                }
            }
            slots.push(slot);
        }
        Ok(added)
    }

    /// Removes the member that was added under `key`. Returns false if there is none.
    pub fn remove(&mut self, key: Key) -> bool {
        let Some(place) = self.members.get_mut(key.index()) else {
            return false;
        };
        let Some(member) = place.take_if(|member| member.serial == key.serial) else {
            return false;
        };
        if member.hot {
            self.hot.retain(|&slot| slot != key.slot);
        }
        if let Some(fd) = member.what.descriptor()
            && let Some(slots) = self.slots.get_mut(&fd)
        {
            slots.retain(|&slot| slot != key.slot);
            if slots.is_empty() {
                self.slots.remove(&fd);
                // A forked child must not change its parent's epoll instance.
                if self.owner == self.heap.me()
                    && let Some(set) = &self.epoll
                {
                    set.remove(fd);
                }
            }
        }
        self.free.push(key.slot);
        true
    }

    /// Waits until at least one member is ready, and returns all that are. Without members it returns at once.
    ///
    /// # Errors
    ///
    /// * [`Error::Interrupted`] if the hook of [`on_interrupt`](crate::on_interrupt) asks for it.
    /// * [`Error::Os`] if the system refuses a descriptor or a thread.
    /// * In a forked child, as for [`add`](Self::add).
    pub fn wait(&mut self) -> Result<Vec<Key>> {
        self.wait_until(Deadline::Never)
    }

    /// Waits as [`wait`](Self::wait) does, for at most `timeout`. Returns an empty list when the time is up.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Vec<Key>> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Returns the members that are ready now.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Vec<Key>> {
        self.wait_until(Deadline::Now)
    }

    pub(super) fn wait_until(&mut self, deadline: Deadline) -> Result<Vec<Key>> {
        let (mut slept, mut sleeper) = (None, Sleeper::new());
        let mut said = None;
        loop {
            // Checked each time, because a hook may have forked.
            self.rebind_after_fork()?;
            if slept == Some(Wake::TimedOut) {
                // The process that was to mark a member may have died.
                self.looked = 0;
            }
            let ready = self.look()?;
            if !ready.is_empty() || self.is_empty() || deadline.passed() {
                return Ok(ready);
            }
            if slept.is_some() && interrupted() {
                return Err(Error::Interrupted);
            }
            if let (Some(ready_set), None) = (&self.ready_set, &said) {
                said = Some(self.heap.waiting_for(ready_set.off(), Purpose::Wait));
            }
            slept = self.sleep(deadline, slept, &mut sleeper)?;
        }
    }

    /// Makes the next wait check every member, for tests that do not want to wait for a second.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn recheck_all(&mut self) {
        self.looked = 0;
    }

    // ---- checking members ----

    /// Returns all members that are ready.
    fn look(&mut self) -> Result<Vec<Key>> {
        self.drain_ready();
        self.descriptors_first = !self.descriptors_first;
        let mut ready = Vec::new();
        if self.descriptors_first {
            self.check_descriptors(&mut ready)?;
            self.check_hot(&mut ready);
        } else {
            self.check_hot(&mut ready);
            self.check_descriptors(&mut ready)?;
        }
        Ok(ready)
    }

    /// Makes the members hot that were marked in the ready set. Once a second all members become hot, because the
    /// process that was to mark one may have died.
    fn drain_ready(&mut self) {
        let Some(ready_set) = &self.ready_set else { return };
        let all = self.members.len();
        let (members, hot) = (&mut self.members, &mut self.hot);
        let mut mark_hot = |slot: usize| {
            if let Some(member) = &mut members[slot]
                && member.what.descriptor().is_none()
                && !core::mem::replace(&mut member.hot, true)
            {
                hot.push_back(slot as u32);
            }
        };
        ready_set.take(|number| (number..all).step_by(NUMBERS).for_each(&mut mark_hot));
        let now = clock::now();
        if now.saturating_sub(self.looked) >= BACKSTOP {
            self.looked = now;
            self.heap.sweep_dead_rate_limited();
            (0..all).for_each(mark_hot);
        }
    }

    /// Checks the hot members. Those that are not ready are no longer hot.
    fn check_hot(&mut self, ready: &mut Vec<Key>) {
        for _ in 0..self.hot.len() {
            let Some(slot) = self.hot.pop_front() else { return };
            let Some(member) = &mut self.members[slot as usize] else {
                continue;
            };
            member.hot = member.what.is_ready();
            if member.hot {
                self.hot.push_back(slot);
                ready.push(Key {
                    slot,
                    serial: member.serial,
                });
            }
        }
        // The next time another member is the first.
        if !self.hot.is_empty() {
            self.hot.rotate_left(1);
        }
    }

    fn check_descriptors(&mut self, ready: &mut Vec<Key>) -> Result<()> {
        let Some(set) = &self.epoll else { return Ok(()) };
        for fd in set.wait(0)? {
            for &slot in self.slots.get(&fd).into_iter().flatten() {
                if let Some(member) = &self.members[slot as usize] {
                    ready.push(Key {
                        slot,
                        serial: member.serial,
                    });
                }
            }
        }
        Ok(())
    }

    // ---- sleeping ----

    /// Sleeps until a member may be ready, until the deadline or a signal, or for a while. Returns how the sleep
    /// ended, if there was one.
    fn sleep(
        &mut self,
        deadline: Deadline,
        slept: Option<Wake>,
        sleeper: &mut Sleeper,
    ) -> Result<Option<Wake>> {
        if let Some(ready_set) = &self.ready_set
            && slept != Some(Wake::TimedOut)
            && spin::until(|| ready_set.is_rung())
        {
            return Ok(None);
        }
        let mut wake = Wake::Woken;
        match (&self.ready_set, &self.epoll) {
            (Some(ready_set), None) => {
                let epoch = ready_set.event_count().prepare_wait();
                if !ready_set.is_rung() {
                    wake = ready_set.event_count().sleep(epoch, deadline, sleeper);
                }
            }
            (ready_set, Some(set)) => {
                if let Some(ready_set) = ready_set {
                    if self.bridge.is_none() {
                        let bridge = Bridge::start(ready_set)?;
                        set.add(bridge.flag().as_raw_fd())?;
                        self.bridge = Some(bridge);
                    }
                    self.bridge.iter().for_each(Bridge::listen);
                }
                // The process that was to mark a member may die, and the thread at the ready set does not report that.
                let slice = if ready_set.is_some() {
                    BACKSTOP
                } else {
                    longest_sleep()
                };
                set.wait(deadline.within(slice))?;
            }
            (None, None) => unreachable!("what is always ready is ready, and there is a member"),
        }
        Ok(Some(wake))
    }

    // ---- forked children ----

    /// Makes, in a forked child, new ones of the things that it shares with its parent.
    fn rebind_after_fork(&mut self) -> Result<()> {
        if self.owner == self.heap.me() {
            return Ok(());
        }
        self.leave_to_parent();
        if self.epoll.is_some() {
            let set = self.epoll.insert(Epoll::new()?);
            // A descriptor that was closed meanwhile is left out.
            self.slots.retain(|&fd, _| set.add(fd).is_ok());
        }
        if self.ready_set.is_some() {
            let ready_set = self.ready_set.insert(ReadySet::new(self.heap)?);
            for (slot, member) in self.members.iter_mut().enumerate() {
                let what = member.as_mut().map(|member| &mut member.what);
                if let Some(What::Object { registration, thing }) = what {
                    *registration = Registration::new(ready_set, slot, &**thing)?;
                }
            }
        }
        self.looked = 0;
        self.owner = self.heap.me();
        Ok(())
    }

    fn leave_to_parent(&mut self) {
        if let Some(bridge) = self.bridge.take() {
            bridge.abandon();
        }
    }
}

impl Drop for Selector {
    fn drop(&mut self) {
        if self.owner != self.heap.me() {
            self.leave_to_parent();
        }
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selector")
            .field("members", &self.len())
            .finish_non_exhaustive()
    }
}
