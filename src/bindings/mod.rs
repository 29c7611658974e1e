//! What a front door in another language stands on: queues of bytes, handles without types, and processes that something
//! else starts. Not for Rust programs, and not covered by the promises of version numbers: the Python package uses it and
//! is built together with this crate.

mod bootstrap;
mod handle;
mod life;
mod parcel;
mod raw_queue;
pub mod shm;
mod sync;
mod token;

pub use crate::codec::Scratch;
pub use crate::os::clock::Deadline;
pub use crate::os::ready::EventFd;
pub use crate::os::signal::without_signals;
pub use crate::shared::Region;
pub use bootstrap::{JoinToken, attach, ended, is_alive, last_child, take_start};
pub use handle::{Address, Handle, HandleKind};
pub use life::{die_with, lifeline, take_leave};
pub use parcel::{ALIGN, Parcel};
pub use raw_queue::{RawQueue, Received};
pub use sync::{abort, arrive, await_event, reset, wait_in_queue};
pub use token::Token;

use crate::error::Result;
use crate::heap::Heap;
pub use crate::select::Waitable;
pub use crate::sync::{Acting, Arrival, Relock, WaitOutcome, WaitQueue};
use crate::sync::{Lock, LockError, RLock, Semaphore};

/// Makes this program's shared memory if it is not there yet.
///
/// # Errors
///
/// What the system said.
pub fn ensure_heap() -> Result<()> {
    crate::program::heap().map(drop)
}

/// Clears up after processes that died, unless one of the program has done so within the last second. For whoever makes what
/// nobody waits at.
pub fn sweep_dead_rate_limited() {
    if let Some(heap) = Heap::existing() {
        heap.sweep_dead_rate_limited();
    }
}

/// [`on_interrupt`](crate::on_interrupt) for a hook that has nothing to say but after a signal handler ran that interrupts
/// system calls. Threads that wait do not wake once a second to ask it.
pub fn on_signal(hook: fn() -> bool) -> bool {
    crate::wait::interrupt::on_signal(hook)
}

/// Gives this process the name that others see when they inspect the program.
///
/// # Errors
///
/// None at present; it has no effect before there is shared memory.
pub fn rename(name: &str) -> Result<()> {
    Heap::existing().map_or(Ok(()), |heap| heap.rename(name))
}

/// A number for this process among those of its program, another one in a forked child; 0 before there is any.
pub fn own_number() -> u32 {
    Heap::existing().map_or(0, Heap::me)
}

/// The number of this thread, as nobody else on the machine has it.
pub fn own_thread() -> u32 {
    crate::os::pid::own_thread()
}

/// Looks `done` over and over for a few microseconds; whether it came true. To be called before sleeping in the kernel; once
/// only where there is one processor, and less where it has not helped.
pub fn spin_briefly(done: impl FnMut() -> bool) -> bool {
    crate::wait::spin::before_sleep(done)
}

/// Runs `work`, in which this thread does not sleep over somebody who is in the middle of a change to what is shared: it ends with
/// [`Error::Busy`](crate::Error::Busy) instead, with nothing changed. For threads that hold what others need, such as an
/// interpreter's lock. Also whether [`tell_news`] is to be called, before this thread gives up what it changed.
#[inline]
pub fn awake<T>(work: impl FnOnce() -> T) -> (T, bool) {
    crate::heap::internal::awake(work)
}

/// Runs `work`, in which waits for whoever is in the middle of a change to what is shared end at `deadline` with
/// [`Error::OwnerStopped`](crate::Error::OwnerStopped), if that one is stopped.
#[inline]
pub fn until<T>(deadline: Deadline, work: impl FnOnce() -> T) -> T {
    crate::heap::internal::until(deadline, work)
}

/// Whether what takes a transaction, such as giving a handle or a parcel up, would sleep now: somebody is in the middle of one,
/// and remains there for longer than it is worth looking.
#[inline]
pub fn is_busy() -> bool {
    Heap::existing().is_some_and(Heap::is_busy)
}

/// Tells those who wait for several things at once what [`awake`] could not. This may sleep.
pub fn tell_news() {
    if let Some(heap) = Heap::existing() {
        crate::heap::registration::tell_news(heap);
    }
}

/// [`wait`](crate::wait) until a deadline.
///
/// # Errors
///
/// As for [`wait`](crate::wait).
pub fn wait_until(things: &[&dyn Waitable], deadline: Deadline) -> Result<Vec<usize>> {
    crate::select::wait_until(things, deadline)
}

/// How something was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryAcquired {
    /// As usual.
    Clean,
    /// From a process that died with it.
    FromDead,
    /// Not in time.
    Not,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended the wait.
    Interrupted,
}

fn forget<G>(answer: Result<G, LockError<G>>) -> Result<TryAcquired> {
    Ok(match answer {
        Ok(guard) => {
            core::mem::forget(guard);
            TryAcquired::Clean
        }
        Err(LockError::OwnerDied { guard, .. }) => {
            core::mem::forget(guard);
            TryAcquired::FromDead
        }
        Err(LockError::Interrupted) => TryAcquired::Interrupted,
        Err(LockError::WouldBlock | LockError::Timeout) => TryAcquired::Not,
        Err(LockError::Failed(error)) => return Err(error),
    })
}

/// Keeps what was taken, if it was, for somebody who will release it.
#[inline]
fn quick<G>(guard: Option<G>) -> TryAcquired {
    match guard {
        Some(guard) => {
            core::mem::forget(guard);
            TryAcquired::Clean
        }
        None => TryAcquired::Not,
    }
}

/// Releases `semaphore` if that takes no time at all.
#[inline]
pub fn release_quick(semaphore: &Semaphore) -> bool {
    semaphore.release_quick()
}

/// What is acquired and released.
pub trait Acquire {
    /// Acquires it if that takes no time at all; it is not asked whether a holder lives. Never sleeps.
    fn try_quick(&self) -> TryAcquired;

    /// Acquires, for somebody who will release.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`](crate::Error::NoIdentity), [`Error::OwnerStopped`](crate::Error::OwnerStopped).
    fn acquire_until(&self, deadline: Deadline) -> Result<TryAcquired>;

    /// Releases it.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`](crate::Error::NotLocked) if it is not acquired, and what else the type's own release answers.
    fn release(&self) -> Result<()>;

    /// Whether somebody is in the middle of a change to it, for whom giving it up may sleep.
    fn is_in_change(&self) -> bool {
        false
    }
}

impl Acquire for Lock {
    #[inline]
    fn try_quick(&self) -> TryAcquired {
        quick(Lock::try_quick(self))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<TryAcquired> {
        forget(self.lock_until(deadline))
    }

    #[inline]
    fn release(&self) -> Result<()> {
        Lock::force_unlock(self)
    }
}

impl Acquire for RLock {
    #[inline]
    fn try_quick(&self) -> TryAcquired {
        quick(RLock::try_quick(self))
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<TryAcquired> {
        forget(self.lock_until(deadline))
    }

    #[inline]
    fn release(&self) -> Result<()> {
        RLock::release(self)
    }
}

impl Acquire for Semaphore {
    #[inline]
    fn try_quick(&self) -> TryAcquired {
        if self.take_quick() {
            return TryAcquired::Clean;
        }
        let (taken, _) = awake(|| Acquire::acquire_until(self, Deadline::Now));
        taken.unwrap_or(TryAcquired::Not)
    }

    fn is_in_change(&self) -> bool {
        Semaphore::is_in_change(self)
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<TryAcquired> {
        match Semaphore::acquire_until(self, deadline) {
            Ok(permit) => {
                let returned = permit.owner_died();
                permit.forget();
                Ok(if returned {
                    TryAcquired::FromDead
                } else {
                    TryAcquired::Clean
                })
            }
            Err(crate::Error::Interrupted) => Ok(TryAcquired::Interrupted),
            Err(crate::Error::Timeout) => Ok(TryAcquired::Not),
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn release(&self) -> Result<()> {
        Semaphore::release(self)
    }
}
