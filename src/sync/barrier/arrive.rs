//! One party that comes to the barrier.

use super::Barrier;
use super::state::{barrier, break_it, end};
use crate::error::{Error, Result};
use crate::heap::internal::insist;
use crate::heap::tx::Tx;
use crate::heap::waiter::{Lent, Purpose, wait_state, waiter};
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use crate::wait::event_count::Ended;

/// Generations of which it is known how they ended.
const MEMORY: u64 = u64::BITS as u64;

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

impl Barrier {
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
        let announce = || self.0.heap().waiting_for(self.0.off(), Purpose::Barrier);
        // Some party may be dead.
        let idle = || self.0.heap().sweep_dead_rate_limited();
        self.shared()
            .event_count
            .wait_until(deadline, over, idle, announce)
    }
}
