//! The line of a condition: threads that wait to be called, first come first served. The protocol is in README.md beside
//! this file.

use super::lock::Mutual;
use crate::codec;
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::internal::insist;
use crate::heap::layout::{Head, Off};
use crate::heap::object::{Facts, Kind, Object, SharedLayout};
use crate::heap::tx::Tx;
use crate::heap::waiter::{Lent, Purpose, standing, waiter};
use crate::os::clock::Deadline;
use crate::os::futex::Wake;
use crate::wait::atomic::{AtomicU64, Ordering, fence_after_rmw};
use crate::wait::interrupt::interrupted;
use crate::wait::sleeper::Sleeper;
use crate::wait::spin;
use core::fmt;
use core::mem::offset_of;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many one transaction calls.
const BATCH: usize = 16;

/// A line in shared memory; transactions change it.
#[repr(C, align(64))]
struct Shared {
    head: Head,
    /// The records of the first and the last who wait.
    first: AtomicU64,
    last: AtomicU64,
    /// How many wait.
    count: AtomicU64,
    /// How many have ever waited: the next one's ticket.
    tickets: AtomicU64,
}

// SAFETY: repr(C) and atomics only.
#[allow(unsafe_code)]
unsafe impl SharedLayout for Shared {}

/// Offset of a field of the line at `off`.
macro_rules! line {
    ($off:expr, $field:ident) => {
        $off + offset_of!(Shared, $field) as Off
    };
}

/// The kind of every line.
pub(crate) const CONDITION: Kind = Kind {
    number: 6,
    name: "condition",
    // What a dead process's threads were doing in it, their records tell.
    bury: |_, _, _, _| Ok(()),
    empty: |_, _| Ok(()),
    describe: |heap, off| {
        let waiting = heap.shared::<Shared>(off).count.load(Ordering::Relaxed);
        Facts::of([("waiting", waiting)])
    },
};

/// Puts the record at `who` at the end of the line.
fn join(tx: &mut Tx<'_>, line: Off, who: Off) {
    let (last, ticket) = (tx.get(line!(line, last)), tx.get(line!(line, tickets)));
    tx.set(waiter!(who, place), line);
    tx.set(waiter!(who, ticket), ticket);
    tx.set(waiter!(who, prev), last);
    tx.set(waiter!(who, next), 0);
    tx.set(waiter!(who, standing), standing::IN_LINE);
    match last {
        0 => tx.set(line!(line, first), who),
        last => tx.set(waiter!(last, next), who),
    }
    tx.set(line!(line, last), who);
    tx.set(line!(line, tickets), ticket + 1);
    tx.add(line!(line, count), 1);
}

/// Takes the record at `who`, which is in the line, out of it.
fn leave(tx: &mut Tx<'_>, line: Off, who: Off) {
    let (prev, next) = (tx.get(waiter!(who, prev)), tx.get(waiter!(who, next)));
    match prev {
        0 => tx.set(line!(line, first), next),
        prev => tx.set(waiter!(prev, next), next),
    }
    match next {
        0 => tx.set(line!(line, last), prev),
        next => tx.set(waiter!(next, prev), prev),
    }
    tx.add(line!(line, count), -1);
    tx.set(waiter!(who, standing), standing::NOWHERE);
}

/// Calls the first in the line, if its ticket is below `bound`; who is to be woken.
fn call(tx: &mut Tx<'_>, line: Off, bound: u64) -> Option<Off> {
    let first = tx.get(line!(line, first));
    if first == 0 || tx.get(waiter!(first, ticket)) >= bound {
        return None;
    }
    leave(tx, line, first);
    tx.set(waiter!(first, standing), standing::CALLED);
    tx.set(waiter!(first, ticket), bound);
    Some(first)
}

/// What becomes of a record in a line or called from it whose thread makes no use of that: who is to be woken in its place.
pub(super) fn abandon(tx: &mut Tx<'_>, who: Off) -> Option<Off> {
    let line = tx.get(waiter!(who, place));
    match tx.get(waiter!(who, standing)) {
        standing::IN_LINE => {
            leave(tx, line, who);
            None
        }
        standing::CALLED => {
            tx.set(waiter!(who, standing), standing::NOWHERE);
            call(tx, line, tx.get(waiter!(who, ticket)))
        }
        _ => None,
    }
}

/// Wakes somebody whom a transaction has called. If the record is gone meanwhile, somebody wakes for nothing.
pub(super) fn wake(heap: &Heap, who: Off) {
    fence_after_rmw();
    if heap.futex(waiter!(who, asleep)).load(Ordering::Relaxed) != 0 {
        heap.futex(waiter!(who, standing)).futex_wake(1);
    }
}

/// How a wait in a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Somebody called.
    Called,
    /// The deadline came first.
    Late,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended it.
    Interrupted,
}

/// A place in a line, given up when this is dropped.
struct Place<'l> {
    heap: &'l Heap,
    lent: Lent<'l>,
}

impl<'l> Place<'l> {
    fn take(line: &'l Line) -> Result<Self> {
        let heap = line.heap;
        let lent = heap.lend_idle_waiter()?;
        lent.waiter().asleep.store(0, Ordering::Relaxed);
        heap.transact(|tx| {
            join(tx, line.object.off(), lent.off());
            Ok(())
        })?;
        Ok(Self { heap, lent })
    }

    fn is_called(&self) -> bool {
        self.lent.waiter().standing.load(Ordering::Acquire) == standing::CALLED
    }

    /// Sleeps until it is called. If it ends in another way, it is in the line no longer.
    fn sleep(&self, deadline: Deadline, announce: impl Fn() -> crate::heap::waiter::Announced<'l>) -> Call {
        let waiter = self.lent.waiter();
        let word = self.heap.futex(waiter!(self.lent.off(), standing));
        let (mut announced, mut sleeper) = (None, Sleeper::new());
        let mut spins = true;
        loop {
            if self.is_called() {
                return Call::Called;
            }
            let ended = if deadline.passed() {
                Call::Late
            } else if announced.is_some() && interrupted() {
                Call::Interrupted
            } else if spins && spin::until(|| self.is_called()) {
                return Call::Called;
            } else {
                announced.get_or_insert_with(&announce);
                waiter.asleep.swap(1, Ordering::SeqCst);
                fence_after_rmw();
                spins = sleeper.sleep(word, standing::IN_LINE as u32, deadline) != Wake::TimedOut;
                if !spins {
                    // Who was to call, or was called in its place, may be dead.
                    self.heap.look_around();
                }
                continue;
            };
            return if self.give_up(ended) { Call::Called } else { ended };
        }
    }

    /// Leaves the line; whether it was called at the last moment, and makes use of it.
    fn give_up(&self, ended: Call) -> bool {
        let who = self.lent.off();
        let late = insist(|| {
            self.heap.transact(|tx| {
                let called = tx.get(waiter!(who, standing)) == standing::CALLED;
                if called && ended == Call::Late {
                    return Ok((true, None));
                }
                Ok((false, abandon(tx, who)))
            })
        });
        let (called, next) = late.unwrap_or((false, None));
        next.inspect(|&next| wake(self.heap, next));
        called
    }

    /// The call was made use of: it is nobody else's any more.
    fn used(self) {
        if self.is_called() {
            let _ = insist(|| {
                self.heap.transact(|tx| {
                    tx.set(waiter!(self.lent.off(), standing), standing::NOWHERE);
                    Ok(())
                })
            });
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.lent.waiter().standing.load(Ordering::Relaxed) != standing::NOWHERE {
            self.give_up(Call::Interrupted);
        }
    }
}

/// A lock that is given up while this lives.
struct Away<'l, L: Mutual> {
    lock: &'l L,
    depth: u64,
}

impl<L: Mutual> Away<'_, L> {
    fn come_back(self) -> Option<u32> {
        let died = self.lock.take_back(self.depth);
        core::mem::forget(self);
        died
    }
}

impl<L: Mutual> Drop for Away<'_, L> {
    fn drop(&mut self) {
        // Only a hook that panics gets here.
        self.lock.take_back(self.depth);
    }
}

/// A line to wait in. The lock that goes with it is its users' affair.
#[derive(Clone)]
pub struct Line {
    heap: &'static Heap,
    object: Object,
}

impl Line {
    /// A line in which nobody waits.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or what the system said when the program's shared memory was set up.
    pub fn new() -> Result<Self> {
        let heap = crate::program::heap()?;
        let object = heap.make_object(&CONDITION, size_of::<Shared>() as u64, 0)?;
        Ok(Self { heap, object })
    }

    /// How many wait; old news at once unless their lock is held.
    #[inline]
    pub fn waiting(&self) -> u64 {
        let shared: &Shared = self.heap.shared(self.object.off());
        shared.count.load(Ordering::Acquire)
    }

    /// Waits to be called, having given up `lock`, which is taken back in any case: how the wait ended, and the process that
    /// died with the lock meanwhile (0: no longer known).
    pub(crate) fn wait(&self, lock: &impl Mutual, deadline: Deadline) -> Result<(Call, Option<u32>)> {
        let place = Place::take(self)?;
        let away = Away {
            depth: lock.give_up()?,
            lock,
        };
        let announce = || self.heap.waiting_for(self.object.off(), Purpose::Condition);
        let call = place.sleep(deadline, announce);
        let died = away.come_back();
        // Not before: should this process die waiting for the lock, the call goes to the next.
        place.used();
        Ok((call, died))
    }

    /// Calls the first `n` of those who wait now; how many there were.
    #[inline]
    ///
    /// # Errors
    ///
    /// [`Error::OwnerStopped`](crate::Error::OwnerStopped), if that was before the first was called.
    pub fn notify(&self, n: u64) -> Result<u64> {
        if self.waiting() == 0 {
            return Ok(0);
        }
        self.notify_some(n)
    }

    #[cold]
    fn notify_some(&self, n: u64) -> Result<u64> {
        let line = self.object.off();
        let (mut bound, mut called) = (None, 0);
        while called < n {
            let some = self.heap.transact(|tx| {
                let bound = *bound.get_or_insert_with(|| tx.get(line!(line, tickets)));
                let most = BATCH.min((n - called) as usize);
                let calls = core::array::from_fn(|i| if i < most { call(tx, line, bound) } else { None });
                Ok::<[Option<Off>; BATCH], _>(calls)
            });
            let some = match some {
                Err(error) if called == 0 => return Err(error),
                // The rest is called another time, or not at all: those who were called are told already.
                Err(_) => break,
                Ok(some) => some,
            };
            let mut woken = 0;
            for who in some.into_iter().flatten() {
                wake(self.heap, who);
                woken += 1;
            }
            called += woken;
            if woken < BATCH as u64 {
                break;
            }
        }
        Ok(called)
    }

    /// Owner id of this process.
    #[inline]
    pub(super) fn me(&self) -> u32 {
        self.heap.me()
    }

    pub(crate) fn object(&self) -> &Object {
        &self.object
    }

    pub(crate) fn from_object(heap: &'static Heap, object: Object) -> Self {
        Self { heap, object }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("waiting", &self.waiting()).finish()
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::serialize_handle(&self.object, self.heap, serializer)
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (object, heap) = codec::deserialize_handle(&CONDITION, 0, deserializer)?;
        Ok(Self { heap, object })
    }
}
