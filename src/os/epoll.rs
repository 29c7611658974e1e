//! Sets of descriptors that are checked again and again for readable ones: epoll(7).

use crate::error::{Error, Result};
use crate::os::clock::span_until;
use crate::os::kept::Kept;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// The number of events that one call fetches. The system continues where the previous call stopped, so every
/// descriptor has its turn.
const AT_ONCE: usize = 256;

/// The result of adding a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The descriptor is in the set from now on.
    New,
    /// The descriptor was in the set before.
    Before,
    /// The descriptor cannot be in a set, because it is always readable (a file on a disk).
    Always,
}

/// A set of descriptors (an epoll instance).
#[derive(Debug)]
pub(crate) struct Epoll(Kept);

impl Epoll {
    pub(crate) fn new() -> Result<Self> {
        epoll::create(CreateFlags::CLOEXEC)
            .map(|fd| Self(Kept::new(fd)))
            .map_err(|e| Error::errno("epoll_create1", e))
    }

    fn control(&self, operation: i32, fd: RawFd) -> Result<(), Errno> {
        // Unchecked: the system refuses a descriptor that is not a set, and sets cannot be told apart.
        let set = self.0.unchecked();
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: fd as u64,
        };
        #[allow(unsafe_code)]
        // SAFETY: the event is valid for the call. The number need not belong to an open descriptor: it is not read or
        // written, and the system refuses one that is not open.
        let answer = unsafe { libc::epoll_ctl(set.as_raw_fd(), operation, fd, &raw mut event) };
        match answer {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()
                .raw_os_error()
                .map_or(Errno::IO, Errno::from_raw_os_error)),
        }
    }

    /// Adds `fd`. It stays in the set until it is removed or closed.
    pub(crate) fn add(&self, fd: RawFd) -> Result<Added> {
        match self.control(libc::EPOLL_CTL_ADD, fd) {
            Ok(()) => Ok(Added::New),
            Err(Errno::EXIST) => Ok(Added::Before),
            Err(Errno::PERM) => Ok(Added::Always),
            Err(errno) => Err(Error::errno("epoll_ctl", errno)),
        }
    }

    /// Removes `fd` from the set. Nothing happens if it was closed meanwhile.
    pub(crate) fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd);
    }

    /// Returns the readable descriptors. Waits as [`readable`](super::poll::readable) does.
    pub(crate) fn wait(&self, moment: u64) -> Result<Vec<RawFd>> {
        let none = Event {
            flags: epoll::EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; AT_ONCE];
        match epoll::wait(self.0.unchecked(), &mut events[..], Some(&span_until(moment))) {
            Ok(count) => Ok(events[..count]
                .iter()
                .map(|event| event.data.u64() as RawFd)
                .collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(Error::errno("epoll_wait", errno)),
        }
    }
}

/// The set is readable while one of its descriptors is.
impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.unchecked()
    }
}
