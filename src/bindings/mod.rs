//! What a front door in another language stands on: queues of bytes, handles without types, and processes that
//! something else starts. Not for Rust programs, and not covered by the promises of version numbers: the Python package
//! uses it and is built together with this crate.

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

/// Clears up after processes that died, unless a process of the program has done so within the last second. Call this
/// when something is made for which no thread will wait, and so none would look for dead processes.
pub fn sweep_dead_rate_limited() {
    if let Some(heap) = Heap::existing() {
        heap.sweep_dead_rate_limited();
    }
}

/// Sets a hook, like [`on_interrupt`](crate::on_interrupt), that need only be asked after a signal handler has
/// interrupted a system call. So waiting threads do not wake once a second to ask it.
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

/// Returns the number of this process within its program; 0 before there is shared memory. A forked child has another
/// number.
pub fn own_number() -> u32 {
    Heap::existing().map_or(0, Heap::me)
}

/// Returns the number of this thread, which is unique on the machine.
pub fn own_thread() -> u32 {
    crate::os::pid::own_thread()
}

/// Checks `done` again and again for a few microseconds, before a sleep in the kernel. Returns whether it became true.
/// If the program may use only one processor, it checks once. Where spinning has not helped of late, most calls check
/// once, too.
pub fn spin_briefly(done: impl FnMut() -> bool) -> bool {
    crate::wait::spin::before_sleep(done)
}

/// Runs `work` without sleeping while another thread or process is in the middle of a change to shared memory: `work`
/// ends with [`Error::Busy`](crate::Error::Busy) instead, and nothing is changed. This is for threads that hold what
/// others need, such as an interpreter's lock. Also returns whether [`tell_news`] is to be called before this thread
/// gives up what it changed.
#[inline]
pub fn awake<T>(work: impl FnOnce() -> T) -> (T, bool) {
    crate::heap::internal::awake(work)
}

/// Runs `work`. If a process is stopped in the middle of a change to shared memory, waiting for it ends at `deadline`
/// with [`Error::OwnerStopped`](crate::Error::OwnerStopped).
#[inline]
pub fn until<T>(deadline: Deadline, work: impl FnOnce() -> T) -> T {
    crate::heap::internal::until(deadline, work)
}

/// Returns whether a transaction (dropping a handle or a parcel takes one) would have to sleep now: another one is
/// going on, and does not end while this thread spins for a few microseconds.
#[inline]
pub fn is_busy() -> bool {
    Heap::existing().is_some_and(Heap::is_busy)
}

/// Tells the threads that wait for several things at once of the changes of which [`awake`] could not tell them. This
/// may sleep.
pub fn tell_news() {
    if let Some(heap) = Heap::existing() {
        crate::heap::registration::tell_news(heap);
    }
}

/// Waits as [`wait`](crate::wait) does, until `deadline`.
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
    /// Acquires it if that takes no time at all. Never sleeps, and does not ask whether a holder lives.
    fn try_quick(&self) -> TryAcquired;

    /// Acquires it, waiting until `deadline`. The caller has to [release](Self::release) it.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`](crate::Error::NoIdentity), [`Error::OwnerStopped`](crate::Error::OwnerStopped).
    fn acquire_until(&self, deadline: Deadline) -> Result<TryAcquired>;

    /// Releases it.
    ///
    /// # Errors
    ///
    /// [`Error::NotLocked`](crate::Error::NotLocked) if it is not acquired, and the other errors of the type's own
    /// `release`.
    fn release(&self) -> Result<()>;

    /// Returns whether a thread is in the middle of a change to it. Then dropping it may have to sleep.
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
