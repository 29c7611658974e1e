//! What one party does at a barrier: it arrives, waits or acts, and leaves.

use super::Barrier;
use super::state::{barrier, break_it, end};
use crate::error::{Error, Result};
use crate::heap::internal::insist;
use crate::heap::tx::Tx;
use crate::heap::waiter::{Announced, Lent, Purpose, wait_state, waiter};
use crate::os::clock::Deadline;
use crate::wait::atomic::Ordering;
use crate::wait::event_count::{Ended, Wait};

/// The number of past generations whose outcome is known.
const MEMORY: u64 = u64::BITS as u64;

/// What happens to a party that comes to a barrier.
enum Arriving {
    Broken,
    /// All parties have arrived, and the last one is at its action.
    Closed,
    /// The party is not the last, and does not want to wait.
    Early,
    Arrived,
    /// The party is the last, and all go on.
    Passed,
    /// The party is the last, and has to act.
    Acts,
}

/// How a party got through a barrier.
pub enum Arrival<'b> {
    /// The party has passed. The number says as which one it arrived, from 0 on.
    Passed(usize),
    /// The party is the last, and the others wait until it has acted.
    Acts(Acting<'b>),
}

/// What the last party has while it acts. The others wait until it calls [`done`](Acting::done); dropped, it breaks
/// the barrier.
pub struct Acting<'b>(BarrierWait<'b>);

impl Acting<'_> {
    /// Lets all parties go on.
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

/// A party that has arrived. Its record in the heap says so until this is dropped.
struct BarrierWait<'b> {
    barrier: &'b Barrier,
    lent: Lent<'b>,
    generation: u64,
    index: usize,
}

impl Drop for BarrierWait<'_> {
    fn drop(&mut self) {
        // While this process lives, nobody else changes the word.
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

    /// Breaks the barrier, unless the generation is over. Returns true if it did.
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

    /// Leaves the barrier as if this party had never arrived, unless all have.
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

    /// Returns true if the party's generation, which is over, ended well.
    fn passed(&self) -> Result<bool> {
        let (mine, shared) = (self.generation, self.barrier.shared());
        // `last_broken` is written before the generation, whose new value was seen. So no generation from this one on
        // was broken.
        if shared.last_broken.load(Ordering::Relaxed) <= mine {
            return Ok(true);
        }
        let off = self.barrier.0.off();
        self.barrier.0.heap().transact(|tx| {
            let age = tx.get(barrier!(off, generation)) - mine - 1;
            // The outcome may be too old to be known. Then the generation is taken for broken, which it may have been.
            Ok(age < MEMORY && tx.get(barrier!(off, outcomes)) >> age & 1 == 0)
        })
    }
}

impl Barrier {
    /// Comes to the barrier, and waits for the other parties. If `acts` is true and this party is the last, returns
    /// [`Arrival::Acts`] at once: the others wait until the caller has acted.
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

    /// Stages the arrival of a party. Also returns the generation, and how many parties had arrived before.
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
}

/// The wait until a barrier's generation is over.
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
        // A party may have died.
        self.barrier.0.heap().sweep_dead_rate_limited();
    }
}
