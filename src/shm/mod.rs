//! Shared memory by name, for programs that are not related. README.md in this folder has the protocol.

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

/// A piece of shared memory that other programs of the same user can find by its name (POSIX shared memory,
/// `/dev/shm`).
///
/// Processes of one program have queues, values and arrays, which need no names. This type is for programs that are
/// not related, and for programs in Python: `multiprocessing.shared_memory` uses the same memory.
///
/// * The name goes with the last user, in whichever program that is: with its last handle, or with its process,
///   SIGKILL included. The name is never taken away from a process that uses the memory. (A small *tracker* process
///   waits for the end of each process that uses named memory, so `procession::init()` must have run. A forked child
///   shares its parent's tracker, if there is one; that waits for both.)
/// * [`unlink`](Self::unlink) removes the name immediately, as in POSIX. Existing handles keep the memory.
/// * A program on the standard library of Python does not record its use. It keeps the memory that it has, but not
///   the name, and it may unlink the name when it ends.
///
/// All clones of a handle are one use. Any user may write at any time: there is no lock.
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
    /// Both keep the lock. `None` only while the use ends.
    open: Option<(Mapping, Kept)>,
}

impl SharedMemory {
    /// Makes memory of `size` bytes, all zero, with this name, or with a name that is not in use (`None`).
    ///
    /// # Errors
    ///
    /// [`Error::MemoryExists`] if the name is in use; [`Error::BadName`]; [`Error::OutOfMemory`] if there is less
    /// memory than that (the memory exists from the start: touching it cannot fail later); [`Error::NotInitialised`];
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

    /// Opens the memory that has this name, and uses it from now on.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMemory`] if there is no such name; [`Error::BadName`]; [`Error::NotInitialised`];
    /// [`Error::Os`], with `EACCES` if it is not memory of this user.
    pub fn open(name: &str) -> Result<Self> {
        Self::with(name, file::open)
    }

    fn with(name: &str, get: impl FnOnce(&str) -> Result<OwnedFd>) -> Result<Self> {
        let name = file::checked(name)?.to_owned();
        // Registered before the name exists, so that at every moment a process is responsible for removing it.
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

    /// Returns the name, without a `/`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the size in bytes.
    pub fn len(&self) -> usize {
        self.map().len()
    }

    /// Returns false: memory of zero bytes cannot be made.
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

    /// Copies the bytes from `offset` on into `into`. If other processes write meanwhile, part of their data may be
    /// seen.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len())?;
        self.map().read(offset, into);
        Ok(())
    }

    /// Copies `from` to the bytes from `offset` on. A process that reads meanwhile may see a part of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        self.check(offset, from.len())?;
        self.map().write(offset, from);
        Ok(())
    }

    /// Returns the four bytes at `offset` as an atomic, for coordination with other processes; `None` if they are out
    /// of range or not aligned.
    pub fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        self.map().atomic_u32(offset)
    }

    /// Returns the eight bytes at `offset` as an atomic, for coordination with other processes; `None` if they are
    /// out of range or not aligned.
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

    /// Returns the memory's address in this process. It is page-aligned, and valid as long as a handle exists. Other
    /// processes use the memory at the same time, so access it by atomics, or under an agreement with them.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map().base()
    }

    /// Returns the bytes in place.
    ///
    /// # Safety
    ///
    /// No program may write to them while the slice lives.
    #[allow(unsafe_code)]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the memory is mapped with this length while the handle lives; the caller promises that no program
        // writes.
        unsafe { core::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// Returns the bytes in place, to be changed.
    ///
    /// # Safety
    ///
    /// No other code, in any program or through another handle, may read or write them while the slice lives.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub unsafe fn as_mut_slice(&self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; the caller promises that no other code accesses them.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr(), self.len()) }
    }

    /// Removes the name immediately: the memory can no longer be opened, and the name is free. Existing handles keep
    /// the memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchMemory`] if the name is gone, or refers to something else by now.
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
        // First this use ends, then it is checked whether it was the last.
        drop(self.open.take());
        leave(&self.name);
    }
}

/// Ends a use of this process: removes the name if the memory is not in use.
fn leave(name: &str) {
    match file::tidy(name, true) {
        Tidied::Gone => tracker::forget(name),
        Tidied::InUse => tracker::recheck(name),
    }
}

/// Clears up after programs whose trackers were killed with them. Only the first call in a process does so.
pub(crate) fn sweep_once() {
    static SWEPT: AtomicBool = AtomicBool::new(false);
    if !SWEPT.swap(true, Ordering::Relaxed) {
        file::sweep();
    }
}
