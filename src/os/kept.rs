//! Descriptors that this crate keeps for long, under numbers that the program may take away.
//!
//! Some programs close descriptors that they did not open: a daemon closes all it finds. The number then refers to
//! whatever the program opens next. So a kept number is used, or closed, only after a check that it still refers to
//! the same file.

use crate::error::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags, fstat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The file that a descriptor refers to: device and inode.
///
/// (The system gives one inode to all eventfds and epoll instances. For these the identity only shows that the
/// descriptor is not one of the program's files, pipes or sockets.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns the identity of the file that `fd` refers to.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let stat = fstat(fd).map_err(|e| Error::errno("fstat", e))?;
        Ok(Self::from_stat(&stat))
    }

    /// Returns the identity of the file that was looked at.
    pub(crate) fn from_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// Opens the file at `path` if it has this identity.
pub(crate) fn open_same(identity: Identity, path: &str) -> Option<OwnedFd> {
    // The check comes before the opening, because opening a device or a pipe may have an effect.
    let there = rustix::fs::stat(path).ok()?;
    if Identity::from_stat(&there) != identity {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    // If standard streams were closed, the heap must not take their numbers.
    let fd = if fd.as_raw_fd() < 3 {
        rustix::io::fcntl_dupfd_cloexec(&fd, 3).ok()?
    } else {
        fd
    };
    (Identity::of(fd.as_fd()).ok()? == identity).then_some(fd)
}

/// No descriptor.
const NONE: RawFd = -1;

/// A place for one descriptor. A signal or a fork may come at any instruction, so there is no lock.
#[derive(Debug)]
pub(crate) struct Kept {
    number: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Kept {
    /// Makes an empty place.
    pub(crate) const fn none() -> Self {
        Self {
            number: AtomicI32::new(NONE),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    /// Makes a place that keeps `fd`.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let place = Self::none();
        place.keep(fd);
        place
    }

    /// Keeps `fd` in this place, and closes the descriptor that was there before. Not for two threads at a time.
    pub(crate) fn keep(&self, fd: OwnedFd) {
        // If the program closed the old one, the new one may have the same number.
        if self.number() != Some(fd.as_raw_fd()) {
            self.close();
        }
        // A descriptor without an identity is never used, like a lost one.
        if let Ok(stat) = fstat(&fd) {
            self.device.store(stat.st_dev, Ordering::Relaxed);
            self.inode.store(stat.st_ino, Ordering::Relaxed);
            self.number.store(fd.into_raw_fd(), Ordering::Release);
        }
    }

    /// Returns the number, whatever it refers to now; `None` if the place is empty.
    pub(crate) fn number(&self) -> Option<RawFd> {
        let number = self.number.load(Ordering::Acquire);
        (number != NONE).then_some(number)
    }

    /// Returns the identity of the file that is kept here.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            device: self.device.load(Ordering::Relaxed),
            inode: self.inode.load(Ordering::Relaxed),
        }
    }

    /// Returns the descriptor if it still refers to the same file.
    #[allow(unsafe_code)]
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        let number = self.number()?;
        // SAFETY: the number is only asked what it refers to, which may be nothing.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        // It stays open as long as the place lives, unless the program closes it between here and its use. That
        // cannot be prevented.
        (Identity::of(fd).ok()? == self.identity()).then_some(fd)
    }

    /// Returns the descriptor, or [`Error::DescriptorLost`], which names it.
    pub(crate) fn get_or_lost(&self, what: &str) -> Result<BorrowedFd<'_>> {
        self.get().ok_or_else(|| Error::DescriptorLost {
            number: self.number().unwrap_or(NONE),
            what: what.to_owned(),
        })
    }

    /// Returns the number as a descriptor without a check, for a question of the program's own (whether it is
    /// readable, say).
    #[allow(unsafe_code)]
    pub(crate) fn unchecked(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as the place lives, unless the program closes it; then the program's question is
        // about its own file. (An empty place gives a number that no descriptor ever has.)
        unsafe { BorrowedFd::borrow_raw(self.number().unwrap_or(RawFd::MAX)) }
    }

    /// Takes the descriptor out of its place, if it still refers to the same file.
    #[allow(unsafe_code)]
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        use std::os::fd::FromRawFd;
        let ours = self.get()?.as_raw_fd();
        self.number
            .compare_exchange(ours, NONE, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        // SAFETY: open, as was just checked, and out of its place, so nothing else here closes it.
        Some(unsafe { OwnedFd::from_raw_fd(ours) })
    }

    /// Closes the descriptor, if it still refers to the same file.
    pub(crate) fn close(&self) {
        drop(self.take());
        self.number.store(NONE, Ordering::Release);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs::File;

    /// Makes the number of `kept` refer to another file, as a program does that closes it and opens one.
    #[allow(unsafe_code)]
    fn replace(kept: &Kept, by: BorrowedFd<'_>) {
        let number = kept.number().expect("a number");
        // SAFETY: a number that this test knows to be `kept`'s.
        assert_ne!(unsafe { libc::dup2(by.as_raw_fd(), number) }, -1);
    }

    fn file() -> OwnedFd {
        File::open("/dev/null").expect("there is one").into()
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe().expect("descriptors")
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn what_is_kept_is_given_and_closed() {
        let (read, write) = pipe();
        let kept = Kept::new(write);
        assert!(kept.get().is_some());
        drop(kept);
        assert_eq!(
            rustix::io::read(&read, &mut [0u8; 1]),
            Ok(0),
            "the write end is closed"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_number_that_became_another_file_is_neither_given_nor_closed() {
        let kept = Kept::new(file());
        let number = kept.number().expect("a number");
        let (read, write) = pipe();
        replace(&kept, write.as_fd());
        drop(write);
        assert!(kept.get().is_none());
        assert!(kept.take().is_none());
        assert!(
            kept.get_or_lost("a file")
                .unwrap_err()
                .to_string()
                .contains(&number.to_string())
        );
        drop(kept);
        rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK).expect("a pipe");
        let answer = rustix::io::read(&read, &mut [0u8; 1]);
        assert_eq!(
            answer,
            Err(rustix::io::Errno::AGAIN),
            "the program's file is still open"
        );
        drop(crate::os::descriptor::inherited(number).expect("it is open"));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn the_same_file_may_come_back_under_the_same_number() {
        let (read, write) = pipe();
        let kept = Kept::new(write.try_clone().expect("descriptors"));
        let number = kept.number().expect("a number");
        // Closed by the program and opened again by us, to the same effect as this.
        let again = crate::os::descriptor::inherited(number).expect("it is open");
        kept.keep(again);
        assert_eq!(kept.get().map(|fd| fd.as_raw_fd()), Some(number));
        drop((kept, write));
        assert_eq!(
            rustix::io::read(&read, &mut [0u8; 1]),
            Ok(0),
            "it was closed, once"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_place_that_lost_its_descriptor_takes_another() {
        let kept = Kept::none();
        assert!(kept.get().is_none());
        kept.keep(file());
        kept.keep(file());
        assert!(kept.get().is_some());
        kept.close();
        assert!(kept.get().is_none() && kept.number().is_none());
    }
}
