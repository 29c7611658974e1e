//! A barrier: nobody goes on until everybody is there. The protocol is in README.md beside this file.

use crate::codec::{Handle, SharedKind};
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::internal::insist;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, ObjectKind, SharedLayout};
use crate::heap::tx::Tx;
use crate::heap::waiter::{Announced, Lent, Purpose, wait_state, waiter};
use crate::os::clock::Deadline;
use crate::wait::atomic::{AtomicU64, Ordering};
use crate::wait::event_count::{Ended, EventCount, Wait};
use core::fmt;
use core::mem::offset_of;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Generations of which it is known how they ended.
const MEMORY: u64 = u64::BITS as u64;

/// A barrier in shared memory; transactions change it.
#[repr(C, align(64))]
pub(crate) struct BarrierLayout {
    head: Head,
    parties: AtomicU64,
    /// Who has arrived in this generation. If that is everybody, the last one is at its action.
    count: AtomicU64,
    /// Generations that have ended.
    generation: AtomicU64,
    /// 1 from the end of a broken generation to `reset`.
    broken: AtomicU64,
    /// How the last ones ended, the latest in bit 0; a one is for broken.
    outcomes: AtomicU64,
    /// The latest that was broken, plus one.
    last_broken: AtomicU64,
    event_count: EventCount,
    _pad: u32,
}

// SAFETY: repr(C), atomics (a gate is one) and padding.
#[allow(unsafe_code)]
unsafe impl SharedLayout for BarrierLayout {}

/// Offset of a field of the barrier at `off`.
macro_rules! barrier {
    ($off:expr, $field:ident) => {
        $off + offset_of!(BarrierLayout, $field) as Off
    };
}

/// The kind of every barrier.
pub(crate) const BARRIER: ObjectKind = ObjectKind {
    number: 8,
    name: "barrier",
    on_holder_death,
    clear: |_, _| Ok(()),
    describe: |heap, off| {
        let shared = heap.shared::<BarrierLayout>(off);
        Facts::of([
            ("parties", shared.parties.load(Ordering::Relaxed)),
            ("waiting", shared.count.load(Ordering::Relaxed)),
            ("broken", shared.broken.load(Ordering::Relaxed)),
        ])
    },
};

/// Names the kind for [`Handle`].
pub(crate) enum BarrierKind {}

impl SharedKind for BarrierKind {
    type Layout = BarrierLayout;
    const KIND: &'static ObjectKind = &BARRIER;
}

/// It may have died between ending a generation and waking those who wait.
#[allow(clippy::unnecessary_wraps, reason = "as all kinds' functions")]
fn on_holder_death(heap: &Heap, off: Off, _dead: u32, _tally: Off) -> Result<()> {
    heap.shared::<BarrierLayout>(off)
        .event_count
        .wake_unconditionally();
    Ok(())
}

/// Ends the generation.
fn end(tx: &mut Tx<'_>, off: Off, broken: bool) {
    let generation = tx.get(barrier!(off, generation));
    if broken {
        tx.set(barrier!(off, last_broken), generation + 1);
        tx.set(barrier!(off, broken), 1);
    }
    let outcomes = tx.get(barrier!(off, outcomes));
    tx.set(barrier!(off, outcomes), outcomes << 1 | u64::from(broken));
    tx.set(barrier!(off, count), 0);
    // Last, because it is what the others look at.
    tx.set(barrier!(off, generation), generation + 1);
}

/// Breaks the barrier.
fn break_it(tx: &mut Tx<'_>, off: Off) {
    if tx.get(barrier!(off, count)) > 0 {
        end(tx, off, true);
    }
    tx.set(barrier!(off, broken), 1);
}

/// The record at `who` stands at a barrier, and its thread is dead: the barrier is broken, unless that generation is over.
pub(super) fn forsake(heap: &Heap, who: Off) -> Result<()> {
    let off = heap.transact(|tx| {
        let off = tx.get(waiter!(who, place));
        if tx.get(barrier!(off, generation)) == tx.get(waiter!(who, ticket)) {
            break_it(tx, off);
        }
        tx.set(waiter!(who, wait_state), wait_state::NOWHERE);
        Ok(off)
    })?;
    heap.shared::<BarrierLayout>(off)
        .event_count
        .wake_unconditionally();
    Ok(())
}

/// What becomes of who comes to a barrier.
enum Arriving {
    Broken,
    /// Everybody is there, and the last one at its action.
    Closed,
    /// It would not be the last, and does not want to wait.
    Early,
    Arrived,
    /// It was the last, and everybody goes on.
    Passed,
    /// It was the last, and is to act.
    Acts,
}

/// How somebody got through a barrier.
pub enum Arrival<'b> {
    /// With everybody, having arrived as the one of this number.
    Passed(usize),
    /// As the last: everybody waits for what it has to do.
    Acts(Acting<'b>),
}

/// Everybody else waits until this is [done](Acting::done). Dropped, it breaks the barrier.
pub struct Acting<'b>(BarrierWait<'b>);

impl Acting<'_> {
    /// Lets everybody go on.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenBarrier`] if it was broken meanwhile.
    pub fn done(self) -> Result<usize> {
        let BarrierWait {
            barrier, generation, ..
        } = self.0;
        let off = barrier.0.off();
        let whole = barrier.0.heap().transact(|tx| {
            let whole = tx.get(barrier!(off, generation)) == generation;
            if whole {
                end(tx, off, false);
            }
            Ok(whole)
        })?;
        barrier.shared().event_count.notify_all();
        if whole {
            Ok(self.0.index)
        } else {
            Err(Error::BrokenBarrier)
        }
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.0.break_generation();
    }
}

/// A party that has arrived; its record says so until this is dropped.
struct BarrierWait<'b> {
    barrier: &'b Barrier,
    lent: Lent<'b>,
    generation: u64,
    index: usize,
}

impl Drop for BarrierWait<'_> {
    fn drop(&mut self) {
        // Nobody else changes it while this process lives.
        let wait_state = &self.lent.waiter().wait_state;
        wait_state.store(wait_state::NOWHERE, Ordering::Release);
    }
}

impl BarrierWait<'_> {
    /// Waits for the end of the generation.
    fn wait(&self, deadline: Deadline) -> Result<usize> {
        let over = || self.barrier.generation() != self.generation;
        match self.barrier.wait_until(deadline, over) {
            Ok(()) => {}
            Err(Ended::Late) => {
                if self.break_generation() {
                    return Err(Error::Timeout);
                }
            }
            Err(Ended::Interrupted) => {
                self.leave()?;
                return Err(Error::Interrupted);
            }
        }
        if self.passed()? {
            Ok(self.index)
        } else {
            Err(Error::BrokenBarrier)
        }
    }

    /// Breaks the barrier, unless the generation is over; whether it did.
    fn break_generation(&self) -> bool {
        let off = self.barrier.0.off();
        let broke = insist(|| {
            self.barrier.0.heap().transact(|tx| {
                let in_time = tx.get(barrier!(off, generation)) == self.generation;
                if in_time {
                    break_it(tx, off);
                }
                Ok(in_time)
            })
        });
        self.barrier.shared().event_count.notify_all();
        broke.unwrap_or(false)
    }

    /// Goes away as if it had never come, unless everybody has.
    fn leave(&self) -> Result<()> {
        let off = self.barrier.0.off();
        self.barrier.0.heap().transact(|tx| {
            let in_time = tx.get(barrier!(off, generation)) == self.generation;
            if in_time && tx.get(barrier!(off, count)) < tx.get(barrier!(off, parties)) {
                tx.add(barrier!(off, count), -1);
            }
            tx.set(waiter!(self.lent.off(), wait_state), wait_state::NOWHERE);
            Ok(())
        })
    }

    /// Whether its generation, which is over, ended well.
    fn passed(&self) -> Result<bool> {
        let (mine, shared) = (self.generation, self.barrier.shared());
        // Written before the generation, which was seen: nothing later than this was broken, and this not either.
        if shared.last_broken.load(Ordering::Relaxed) <= mine {
            return Ok(true);
        }
        let off = self.barrier.0.off();
        self.barrier.0.heap().transact(|tx| {
            let age = tx.get(barrier!(off, generation)) - mine - 1;
            // Nobody knows any more: then it is as if it had been broken, which it may have been.
            Ok(age < MEMORY && tx.get(barrier!(off, outcomes)) >> age & 1 == 0)
        })
    }
}

/// A barrier for a number of parties, processes or threads: each waits until all are there, and then all go on.
///
/// A handle can be cloned, passed to processes and sent through queues. It can be passed over and over. If a process dies that
/// has arrived, or is at its action, the barrier is broken within a second, and everybody is told; one that dies before it
/// arrives is waited for like any that is late. The semantics are those of Python's `multiprocessing.Barrier`, but that there
/// the survivors wait for ever.
///
/// ```
/// use procession::{Barrier, Process};
///
/// fn step(together: Barrier) -> procession::Result<usize> {
///     together.wait()
/// }
///
/// # #[procession::main]
/// fn main() -> procession::Result<()> {
///     let together = Barrier::new(2)?;
///     let other = Process::spawn(step, together.clone())?;
///     let mine = together.wait()?;
///     assert_eq!(mine + other.join()??, 1); // one was number 0 and one number 1
///     Ok(())
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Barrier(Handle<BarrierKind>);

impl From<Handle<BarrierKind>> for Barrier {
    fn from(handle: Handle<BarrierKind>) -> Self {
        Self(handle)
    }
}

impl Barrier {
    /// A barrier for so many parties.
    ///
    /// # Errors
    ///
    /// [`Error::NoParties`] for 0; [`Error::OutOfMemory`], or what the system said when the program's shared memory was set up.
    pub fn new(parties: usize) -> Result<Self> {
        if parties == 0 {
            return Err(Error::NoParties);
        }
        let barrier = Self(Handle::new()?);
        barrier.shared().parties.store(parties as u64, Ordering::Relaxed);
        Ok(barrier)
    }

    fn shared(&self) -> &BarrierLayout {
        self.0.layout()
    }

    fn generation(&self) -> u64 {
        self.shared().generation.load(Ordering::Acquire)
    }

    /// Waits until all parties wait; the number of this one among them, from 0 in the order of their arrival.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenBarrier`] if the barrier is broken, or was before all were there; [`Error::Interrupted`] where a hook asks
    /// for it: then it is as if this party had not come; [`Error::OutOfMemory`] where there was none to tally that it is here.
    pub fn wait(&self) -> Result<usize> {
        self.pass(Deadline::Never, None::<fn()>)
    }

    /// Passes if all others wait already.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if not, and nothing is changed; as for [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<usize> {
        self.pass(Deadline::Now, None::<fn()>)
    }

    /// Waits for at most `timeout`; then the barrier is broken for all.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] for the one whose timeout it was; as for [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize> {
        self.pass(Deadline::after(timeout), None::<fn()>)
    }

    /// As [`wait`](Self::wait); the last to arrive calls `action` before anybody goes on. A panic in it breaks the barrier.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub fn wait_then(&self, action: impl FnOnce()) -> Result<usize> {
        self.pass(Deadline::Never, Some(action))
    }

    /// As [`wait_then`](Self::wait_then), and as [`wait_timeout`](Self::wait_timeout). The action itself has no deadline, but the
    /// others do not wait for it for longer than they wanted to.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](Self::wait_timeout).
    pub fn wait_then_timeout(&self, timeout: Duration, action: impl FnOnce()) -> Result<usize> {
        self.pass(Deadline::after(timeout), Some(action))
    }

    fn pass(&self, deadline: Deadline, action: Option<impl FnOnce()>) -> Result<usize> {
        match self.arrive(deadline, action.is_some())? {
            Arrival::Passed(index) => Ok(index),
            Arrival::Acts(acting) => {
                if let Some(action) = action {
                    action();
                }
                acting.done()
            }
        }
    }

    /// Waits as one of the parties; `acts`: if it is the last, it wants to do something before anybody goes on.
    pub(crate) fn arrive(&self, deadline: Deadline, acts: bool) -> Result<Arrival<'_>> {
        loop {
            let lent = self.0.heap().lend_idle_waiter()?;
            let (entry, generation, index) = self
                .0
                .heap()
                .transact(|tx| Ok(self.enter(tx, &lent, deadline, acts)))?;
            let wait_state = move || BarrierWait {
                barrier: self,
                lent,
                generation,
                index: index as usize,
            };
            match entry {
                Arriving::Broken => return Err(Error::BrokenBarrier),
                Arriving::Early => return Err(Error::Timeout),
                Arriving::Arrived => return wait_state().wait(deadline).map(Arrival::Passed),
                Arriving::Acts => return Ok(Arrival::Acts(Acting(wait_state()))),
                Arriving::Passed => {
                    self.shared().event_count.notify_all();
                    return Ok(Arrival::Passed(index as usize));
                }
                Arriving::Closed => {
                    let opens = || self.generation() != generation;
                    self.wait_until(deadline, opens).map_err(|ended| match ended {
                        Ended::Late => Error::Timeout,
                        Ended::Interrupted => Error::Interrupted,
                    })?;
                }
            }
        }
    }

    /// Comes to the barrier; also the generation and how many were there before.
    fn enter(
        &self,
        tx: &mut Tx<'_>,
        lent: &Lent<'_>,
        deadline: Deadline,
        acts: bool,
    ) -> (Arriving, u64, u64) {
        let (off, who) = (self.0.off(), lent.off());
        let (generation, count) = (tx.get(barrier!(off, generation)), tx.get(barrier!(off, count)));
        let parties = tx.get(barrier!(off, parties));
        let last = count + 1 == parties;
        let entry = if tx.get(barrier!(off, broken)) != 0 {
            Arriving::Broken
        } else if count == parties {
            Arriving::Closed
        } else if last && !acts {
            end(tx, off, false);
            Arriving::Passed
        } else if !last && deadline == Deadline::Now {
            Arriving::Early
        } else {
            tx.set(barrier!(off, count), count + 1);
            tx.set(waiter!(who, place), off);
            tx.set(waiter!(who, ticket), generation);
            tx.set(waiter!(who, wait_state), wait_state::AT_BARRIER);
            if last { Arriving::Acts } else { Arriving::Arrived }
        };
        (entry, generation, count)
    }

    fn wait_until(&self, deadline: Deadline, over: impl Fn() -> bool) -> Result<(), Ended> {
        let mut until_over = UntilOver { barrier: self, over };
        self.shared()
            .event_count
            .attempt_or_wait(&mut until_over, deadline)
    }

    /// Breaks the barrier: whoever waits, and whoever comes until it is [reset](Self::reset), gets
    /// [`Error::BrokenBarrier`].
    pub fn abort(&self) {
        self.break_or_mend(true);
    }

    /// Makes the barrier as new: whoever waits gets [`Error::BrokenBarrier`], whoever comes waits for all to come.
    pub fn reset(&self) {
        self.break_or_mend(false);
    }

    fn break_or_mend(&self, broken: bool) {
        // It fails only in a process that cannot use what is shared.
        let _ = insist(|| self.try_break_or_mend(broken));
    }

    pub(crate) fn try_break_or_mend(&self, broken: bool) -> Result<()> {
        let off = self.0.off();
        self.0.heap().transact(|tx| {
            break_it(tx, off);
            tx.set(barrier!(off, broken), u64::from(broken));
            Ok(())
        })?;
        self.shared().event_count.notify_all();
        Ok(())
    }

    /// For how many it is.
    pub fn parties(&self) -> usize {
        self.shared().parties.load(Ordering::Relaxed) as usize
    }

    /// How many wait; old news at once.
    pub fn waiting(&self) -> usize {
        self.shared().count.load(Ordering::Relaxed) as usize
    }

    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.shared().broken.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn handle(&self) -> &Handle<BarrierKind> {
        &self.0
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("broken", &self.is_broken())
            .finish_non_exhaustive()
    }
}

/// Waits until a barrier's generation is over, or until its next one begins.
struct UntilOver<'b, F> {
    barrier: &'b Barrier,
    over: F,
}

impl<F: Fn() -> bool> Wait for UntilOver<'_, F> {
    type Answer = ();
    type Announced = Announced<'static>;
    const PASSES_BATON: bool = false;

    fn attempt(&mut self) -> Option<()> {
        self.is_ready().then_some(())
    }

    fn is_ready(&self) -> bool {
        (self.over)()
    }

    fn announce(&self) -> Self::Announced {
        let handle = &self.barrier.0;
        handle.heap().waiting_for(handle.off(), Purpose::Barrier)
    }

    fn on_idle(&self) {
        // Some party may be dead.
        self.barrier.0.heap().sweep_dead_rate_limited();
    }
}
