//! Shared memory by name, for programs that are not related. The protocol is in README.md beside this file.

pub(crate) mod file;
pub(crate) mod tracker;

use crate::error::{Error, Result};
use crate::os::file_facts::facts;
use crate::os::kept::Kept;
use crate::os::mapping::Mapping;
use core::fmt;
use file::Tidied;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A piece of shared memory that other programs of the same user find by its name (POSIX shared memory, `/dev/shm`).
///
/// Programs that are related have queues, values and arrays, which need no names; this is for those that are not, and for
/// programs in Python: `multiprocessing.shared_memory` speaks of the same memory.
///
/// * The name goes when the last user does, in whichever program it is: with its last handle, or with its process, also by
///   SIGKILL. It is never taken away from somebody who uses it. (A small *keeper* process waits for the end of each
///   process that uses named memory, so `procession::init()` must have run. A forked child shares its parent's, if there is
///   one: then it waits for both.)
/// * [`unlink`](Self::unlink) takes the name away at once, as POSIX has it; who has a handle keeps the memory.
/// * A program on the standard library of Python does not say that it uses it: it keeps the memory that it has, but not the
///   name, and may unlink the name when it ends.
///
/// All clones of a handle are the same use. Anybody may write at any time: nothing here excludes others.
///
/// ```
/// use procession::{Process, SharedMemory};
///
/// fn shout(name: String) -> procession::Result<()> {
///     let memory = SharedMemory::open(&name)?; // by the name alone: it could be another program
///     let mut text = vec![0; memory.len()];
///     memory.read(0, &mut text)?;
///     memory.write(0, &text.to_ascii_uppercase())
/// }
///
/// #[procession::main]
/// fn main() -> procession::Result<()> {
///     let memory = SharedMemory::create(None, 5)?;
///     memory.write(0, b"howdy")?;
///     Process::spawn(shout, memory.name().to_owned())?.join()??;
///     let mut text = [0; 5];
///     memory.read(0, &mut text)?;
///     assert_eq!(&text, b"HOWDY");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct SharedMemory {
    shared: Arc<Use>,
}

/// This process's use of a piece of memory.
struct Use {
    name: String,
    /// Both keep the lock; taken apart only when it ends.
    open: Option<(Mapping, Kept)>,
}

impl SharedMemory {
    /// Makes memory of `size` bytes, all zero, with this name or (`None`) one that nothing else has.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryExists`] if something has the name; [`Error::BadName`]; [`Error::OutOfMemory`] if there are not so
    /// many bytes (the memory exists from the start: touching it cannot fail later); [`Error::NotInitialised`];
    /// [`Error::Os`], with `EINVAL` for a size of 0.
    pub fn create(name: Option<&str>, size: usize) -> Result<Self> {
        sweep_once();
        let Some(name) = name else {
            loop {
                let name = format!("procession-{:016x}", crate::os::memory::random()?);
                match Self::with(&name, |name| file::create(name, size as u64, true)) {
                    Err(Error::MemoryExists { .. }) => {}
                    answer => return answer,
                }
            }
        };
        Self::with(name, |name| file::create(name, size as u64, true))
    }

    /// Takes part in the memory that has this name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMemory`] if nothing has the name; [`Error::BadName`]; [`Error::NotInitialised`]; [`Error::Os`], with
    /// `EACCES` if it is not memory of this user.
    pub fn open(name: &str) -> Result<Self> {
        Self::with(name, file::open)
    }

    fn with(name: &str, get: impl FnOnce(&str) -> Result<OwnedFd>) -> Result<Self> {
        let name = file::checked(name)?.to_owned();
        // Before the name is there, so that there is no moment in which nobody would take it away.
        tracker::register(&name)?;
        let file = match get(&name) {
            Ok(file) => file,
            Err(error) => {
                tracker::forget(&name);
                return Err(error);
            }
        };
        let map = facts(file.as_fd()).and_then(|facts| Mapping::new(&file, facts.size as usize));
        match map {
            Ok(map) => Ok(Self {
                shared: Arc::new(Use {
                    name,
                    open: Some((map, Kept::new(file))),
                }),
            }),
            Err(error) => {
                drop(file);
                leave(&name);
                Err(error)
            }
        }
    }

    /// Its name, without a `/`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Bytes it has.
    pub fn len(&self) -> usize {
        self.map().len()
    }

    /// Never: there is no memory of no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn map(&self) -> &Mapping {
        match &self.shared.open {
            Some((map, _)) => map,
            None => unreachable!("a handle has a mapping"),
        }
    }

    fn check(&self, offset: usize, len: usize) -> Result<()> {
        let size = self.len();
        if offset <= size && len <= size - offset {
            Ok(())
        } else {
            Err(Error::OutOfRange { offset, len, size })
        }
    }

    /// Copies the bytes from `offset` on. What others write meanwhile may be seen in part.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len())?;
        self.map().read(offset, into);
        Ok(())
    }

    /// Copies `from` to the bytes from `offset` on. Who reads meanwhile may see a part of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.check(offset, from.len())?;
        self.map().write(offset, from);
        Ok(())
    }

    /// The four bytes at `offset` as an atomic, to agree with others by; `None` if they are not there or not aligned.
    pub fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        self.map().atomic_u32(offset)
    }

    /// The eight bytes at `offset` as an atomic, to agree with others by; `None` if they are not there or not aligned.
    ///
    /// ```
    /// # #[procession::main]
    /// # fn main() -> procession::Result<()> {
    /// use std::sync::atomic::Ordering;
    /// let memory = procession::SharedMemory::create(None, 64)?;
    /// let count = memory.atomic_u64(8).expect("there, and aligned");
    /// assert_eq!(count.fetch_add(1, Ordering::Relaxed), 0);
    /// assert!(memory.atomic_u64(57).is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn atomic_u64(&self, offset: usize) -> Option<&AtomicU64> {
        self.map().atomic_u64(offset)
    }

    /// Where it lies in this process, page-aligned; valid as long as a handle lives. To be used as others use it at the
    /// same time: by atomics, or under an agreement with them.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map().base()
    }

    /// The bytes as they lie there.
    ///
    /// # Safety
    ///
    /// Nobody, in any program, may write to them while the slice lives.
    #[allow(unsafe_code)]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped and as long as this, while the handle lives; that nobody writes is the caller's promise.
        unsafe { core::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// The bytes as they lie there, to be changed.
    ///
    /// # Safety
    ///
    /// Nobody else, in any program or through another handle, may read or write them while the slice lives.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub unsafe fn as_mut_slice(&self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; that nobody else looks is the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr(), self.len()) }
    }

    /// Takes the name away at once: nobody can open it any more, and the name is free. Who has a handle keeps the memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMemory`] if the name is gone, or leads to something else by now.
    pub fn unlink(&self) -> Result<()> {
        match &self.shared.open {
            Some((_, file)) => file::unlink_from(self.name(), file.get_or_lost("a piece of named memory")?),
            None => unreachable!("a handle has a file"),
        }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("name", &self.name())
            .field("len", &self.len())
            .finish()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        // First the use ends, then it is asked whether it was the last.
        drop(self.open.take());
        leave(&self.name);
    }
}

/// A use of this process has ended: takes the name away if nobody else uses it.
fn leave(name: &str) {
    match file::tidy(name, true) {
        Tidied::Gone => tracker::forget(name),
        Tidied::InUse => tracker::recheck(name),
    }
}

/// Clears up after programs whose keepers were killed with them; once in a process is enough.
pub(crate) fn sweep_once() {
    static SWEPT: AtomicBool = AtomicBool::new(false);
    if !SWEPT.swap(true, Ordering::Relaxed) {
        file::sweep();
    }
}
