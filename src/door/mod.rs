//! What a front door in another language stands on: queues of bytes, handles without types, and processes that something
//! else starts. Not for Rust programs, and not covered by the promises of version numbers: the Python package uses it and
//! is built together with this crate.

mod birth;
mod channel;
mod handle;
mod life;
pub mod named;
mod parcel;
mod together;

pub use crate::os::clock::Deadline;
pub use crate::os::ready::Flag;
pub use crate::os::signal::without_signals;
pub use crate::shared::Memory;
pub use birth::{Invitation, attach, ended, is_alive, last_child, take_start};
pub use channel::{Channel, Received};
pub use handle::{Address, Handle, Sort};
pub use life::{die_with, lifeline, take_leave};
pub use parcel::{ALIGN, Parcel};
pub use together::{abort, arrive, await_event, reset, wait_in_line};

use crate::error::Result;
use crate::heap::Heap;
pub use crate::select::Waitable;
pub use crate::sync::{Acting, Arrival, Call, Line, Mutual};
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
pub fn look_around() {
    if let Some(heap) = Heap::existing() {
        heap.look_around();
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
pub fn look_briefly(done: impl FnMut() -> bool) -> bool {
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
        crate::heap::watch::tell_news(heap);
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
pub enum Taken {
    /// As usual.
    Clean,
    /// From a process that died with it.
    FromDead,
    /// Not in time.
    Not,
    /// The hook of [`on_interrupt`](crate::on_interrupt) ended the wait.
    Interrupted,
}

fn forget<G>(answer: Result<G, LockError<G>>) -> Result<Taken> {
    Ok(match answer {
        Ok(guard) => {
            core::mem::forget(guard);
            Taken::Clean
        }
        Err(LockError::OwnerDied { guard, .. }) => {
            core::mem::forget(guard);
            Taken::FromDead
        }
        Err(LockError::Interrupted) => Taken::Interrupted,
        Err(LockError::WouldBlock | LockError::Timeout) => Taken::Not,
        Err(LockError::Failed(error)) => return Err(error),
    })
}

/// Releases `semaphore` if that takes no time at all.
#[inline]
pub fn release_quick(semaphore: &Semaphore) -> bool {
    semaphore.release_quick()
}

/// What is acquired and released.
pub trait Acquire {
    /// Acquires it if that takes no time at all; it is not asked whether a holder lives. Never sleeps.
    fn try_quick(&self) -> Taken;

    /// Acquires, for somebody who will release.
    ///
    /// # Errors
    ///
    /// [`Error::NoIdentity`](crate::Error::NoIdentity), [`Error::OwnerStopped`](crate::Error::OwnerStopped).
    fn acquire_until(&self, deadline: Deadline) -> Result<Taken>;

    /// Whether somebody is in the middle of a change to it, for whom giving it up may sleep.
    fn is_in_change(&self) -> bool {
        false
    }
}

impl Acquire for Lock {
    #[inline]
    fn try_quick(&self) -> Taken {
        if Lock::try_quick(self) {
            Taken::Clean
        } else {
            Taken::Not
        }
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<Taken> {
        forget(self.lock_until(deadline))
    }
}

impl Acquire for RLock {
    #[inline]
    fn try_quick(&self) -> Taken {
        if RLock::try_quick(self) {
            Taken::Clean
        } else {
            Taken::Not
        }
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<Taken> {
        forget(self.lock_until(deadline))
    }
}

impl Acquire for Semaphore {
    #[inline]
    fn try_quick(&self) -> Taken {
        if self.take_quick() {
            return Taken::Clean;
        }
        let (taken, _) = awake(|| Acquire::acquire_until(self, Deadline::Now));
        taken.unwrap_or(Taken::Not)
    }

    fn is_in_change(&self) -> bool {
        Semaphore::is_in_change(self)
    }

    #[inline]
    fn acquire_until(&self, deadline: Deadline) -> Result<Taken> {
        match Semaphore::acquire_until(self, deadline) {
            Ok(permit) => {
                let returned = permit.is_returned();
                permit.forget();
                Ok(if returned { Taken::FromDead } else { Taken::Clean })
            }
            Err(crate::Error::Interrupted) => Ok(Taken::Interrupted),
            Err(crate::Error::Timeout) => Ok(Taken::Not),
            Err(error) => Err(error),
        }
    }
}
