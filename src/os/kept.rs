//! Descriptors that this crate keeps for long, under a number that the program may take away.
//!
//! Programs close descriptors that they did not open: a daemon closes all it finds. The number then comes to stand for
//! whatever the program opens next. So a number that is kept is only used, or closed, after a look whether it stands for the
//! same file, still.

use crate::error::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags, fstat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Which file a descriptor stands for: device and inode.
///
/// (The system gives all event counters and epoll instances one inode, so of these it is only known that they are none of the
/// program's files, pipes or sockets.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// What `fd` stands for.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let stat = fstat(fd).map_err(|e| Error::errno("fstat", e))?;
        Ok(Self::from_stat(&stat))
    }

    pub(crate) fn from_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// Opens what is at `path`, if it is this file.
pub(crate) fn open_same(identity: Identity, path: &str) -> Option<OwnedFd> {
    // Looked at before it is opened: opening a device or a pipe may do something.
    let there = rustix::fs::stat(path).ok()?;
    if Identity::from_stat(&there) != identity {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    // Standard streams that were closed do not become the heap.
    let fd = if fd.as_raw_fd() < 3 {
        rustix::io::fcntl_dupfd_cloexec(&fd, 3).ok()?
    } else {
        fd
    };
    (Identity::of(fd.as_fd()).ok()? == identity).then_some(fd)
}

/// No descriptor.
const NONE: RawFd = -1;

/// A place for one descriptor. A signal or a fork may come in the middle of anything: nothing is locked.
#[derive(Debug)]
pub(crate) struct Kept {
    number: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Kept {
    /// An empty place.
    pub(crate) const fn none() -> Self {
        Self {
            number: AtomicI32::new(NONE),
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    /// Keeps `fd`.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let place = Self::none();
        place.keep(fd);
        place
    }

    /// Keeps `fd` in this place, and closes what was there before. Not by two threads at a time.
    pub(crate) fn keep(&self, fd: OwnedFd) {
        // One that the program closed may have had the same number.
        if self.number() != Some(fd.as_raw_fd()) {
            self.close();
        }
        // A descriptor that is not understood is never used, as one that was lost.
        if let Ok(stat) = fstat(&fd) {
            self.device.store(stat.st_dev, Ordering::Relaxed);
            self.inode.store(stat.st_ino, Ordering::Relaxed);
            self.number.store(fd.into_raw_fd(), Ordering::Release);
        }
    }

    /// The number, whatever it stands for now; `None` where there never was one.
    pub(crate) fn number(&self) -> Option<RawFd> {
        let number = self.number.load(Ordering::Acquire);
        (number != NONE).then_some(number)
    }

    /// Which file is kept here.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            device: self.device.load(Ordering::Relaxed),
            inode: self.inode.load(Ordering::Relaxed),
        }
    }

    /// The descriptor, if it stands for the same file, still.
    #[allow(unsafe_code)]
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        let number = self.number()?;
        // SAFETY: it is only asked what the number stands for, which may be nothing.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        // It stays open as long as the place lives, unless the program closes it between here and its use, which nobody can
        // rule out.
        (Identity::of(fd).ok()? == self.identity()).then_some(fd)
    }

    /// The descriptor, or an error that says what became of it.
    pub(crate) fn get_or_lost(&self, what: &str) -> Result<BorrowedFd<'_>> {
        self.get().ok_or_else(|| Error::DescriptorLost {
            number: self.number().unwrap_or(NONE),
            what: what.to_owned(),
        })
    }

    /// The number as a descriptor, for somebody who asks the program's own question of it (whether it is readable, say).
    #[allow(unsafe_code)]
    pub(crate) fn unchecked(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open as long as the place lives, but for what the program does, which is its own business then. (A
        // place that has none gives a number that no descriptor ever has.)
        unsafe { BorrowedFd::borrow_raw(self.number().unwrap_or(RawFd::MAX)) }
    }

    /// Takes the descriptor out of its place, if it is ours.
    #[allow(unsafe_code)]
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        use std::os::fd::FromRawFd;
        let ours = self.get()?.as_raw_fd();
        self.number
            .compare_exchange(ours, NONE, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        // SAFETY: open, as was just seen, and out of its place: nobody else here closes it.
        Some(unsafe { OwnedFd::from_raw_fd(ours) })
    }

    /// Closes the descriptor, if it is ours.
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

    /// Has the number of `kept` stand for another file, as a program does that closes it and opens one.
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
            "the stranger is open, still"
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
