//! Bytes through a descriptor: attempts that do not wait, a few microseconds of looking, and only then sleeping in the
//! kernel. Nothing is kept in this process: what was not asked for stays in the descriptor, where others find it.

use crate::buffer::MUCH;
use crate::errors::from_os;
use crate::wait;
use libc::{c_int, iovec, pollfd};
use procession::bindings;
use pyo3::prelude::*;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A descriptor that bytes go through: a socket or a pipe, most of the time.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    pub fd: RawFd,
    /// Whether it was found to be no socket. Only a hint: a program may put another file behind a descriptor.
    pub no_socket: &'a AtomicBool,
    /// When waiting for the other side of a socket ends with `TimeoutError`.
    pub until: Option<Instant>,
}

/// Bytes on their way in or out. The memory is its maker's, who keeps it in place until the transfer is over.
pub struct Transfer {
    way: Way,
    done: usize,
    len: usize,
}

#[derive(Clone, Copy)]
enum Way {
    In(*mut u8),
    Out([iovec; 3]),
}

// SAFETY: the memory behind the addresses stays where it is, whichever thread uses it (see `Transfer::into`, `Transfer::of`).
#[allow(unsafe_code)]
unsafe impl Send for Transfer {}

impl Transfer {
    /// Bytes to be read.
    ///
    /// # Safety
    ///
    /// `len` bytes from `start` may be written, and stay where they are, while the transfer exists.
    #[allow(unsafe_code)]
    pub unsafe fn into(start: *mut u8, len: usize) -> Self {
        Self {
            way: Way::In(start),
            done: 0,
            len,
        }
    }

    /// Bytes to be written, one part behind the other.
    ///
    /// # Safety
    ///
    /// All may be read, and stay where they are, while the transfer exists.
    #[allow(unsafe_code)]
    pub unsafe fn of(parts: [*const [u8]; 3]) -> Self {
        Self {
            way: Way::Out(parts.map(|part| iovec {
                iov_base: part.cast_mut().cast(),
                iov_len: part.len(),
            })),
            done: 0,
            len: parts.iter().map(|part| part.len()).sum(),
        }
    }

    /// Whether nothing is left to be moved.
    pub fn is_whole(&self) -> bool {
        self.done == self.len
    }

    /// Whether bytes have been moved.
    pub fn has_begun(&self) -> bool {
        self.done > 0
    }

    /// Where the next bytes are read to (the first only) or written from.
    fn rest(&self) -> [iovec; 3] {
        let (mut parts, mut skip) = match self.way {
            Way::In(start) => {
                let all = iovec {
                    iov_base: start.cast(),
                    iov_len: self.len,
                };
                ([all, NOTHING, NOTHING], self.done)
            }
            Way::Out(parts) => (parts, self.done),
        };
        for part in &mut parts {
            let done = skip.min(part.iov_len);
            part.iov_base = part.iov_base.wrapping_byte_add(done);
            part.iov_len -= done;
            skip -= done;
        }
        parts
    }
}

const NOTHING: iovec = iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Bytes were moved.
    Moved,
    /// The other side has closed it.
    Eof,
    /// It would have had to wait.
    Dry,
}

impl Stream<'_> {
    /// Moves all of `transfer`, unless the other side closes the stream: then it is not whole.
    ///
    /// Raises what a signal handler raised, or what the system said; bytes that were moved are gone then.
    pub fn carry(&self, py: Python<'_>, transfer: &mut Transfer) -> PyResult<()> {
        // What is there is taken at once: letting go of the interpreter costs more, and far more among busy threads.
        if transfer.len <= MUCH && !transfer.is_whole() && self.attempt(transfer).or_raise(py)? == Step::Eof {
            return Ok(());
        }
        while !transfer.is_whole() {
            match py.detach(|| self.carry_quickly(transfer)).or_raise(py)? {
                Step::Moved => break,
                Step::Eof => return Ok(()),
                Step::Dry => {}
            }
            // A signal that came until now has interrupted nothing.
            wait::look_for_signals_now(py)?;
            match py.detach(|| self.sleep_and_move(transfer)) {
                Ok(Step::Eof) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
                Err(error) => return Err(from_os(py, &error)),
            }
        }
        Ok(())
    }

    /// Moves bytes as long as they come within microseconds: all of them, where it answers `Moved`.
    fn carry_quickly(&self, transfer: &mut Transfer) -> io::Result<Step> {
        let is_long = transfer.len > MUCH;
        while !transfer.is_whole() {
            let mut answer = Ok(Step::Dry);
            let mut try_it = || {
                answer = self.attempt(transfer);
                !matches!(answer, Ok(Step::Dry))
            };
            // Beside the copying of much, sleeping is cheap.
            if is_long {
                try_it();
            } else {
                bindings::spin_briefly(try_it);
            }
            match answer? {
                Step::Moved => {}
                other => return Ok(other),
            }
        }
        Ok(Step::Moved)
    }

    /// Moves what can be moved without waiting.
    #[allow(unsafe_code)]
    fn attempt(&self, transfer: &mut Transfer) -> io::Result<Step> {
        let mut parts = transfer.rest();
        if !self.no_socket.load(Ordering::Relaxed) {
            // SAFETY: all zero bytes are a valid header of a message without contents.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = parts.as_mut_ptr();
            message.msg_iovlen = 3;
            // SAFETY: `parts` describes memory that may be used in this way, by the contract of `Transfer`.
            let moved = unsafe {
                match transfer.way {
                    Way::In(_) => {
                        libc::recv(self.fd, parts[0].iov_base, parts[0].iov_len, libc::MSG_DONTWAIT)
                    }
                    Way::Out(_) => libc::sendmsg(self.fd, &raw const message, libc::MSG_DONTWAIT),
                }
            };
            match record_progress(transfer, moved) {
                Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
                    self.no_socket.store(true, Ordering::Relaxed);
                }
                other => return other.or_else(dry),
            }
        }
        // SAFETY: as above.
        let moved = unsafe {
            match transfer.way {
                Way::In(_) => libc::preadv2(self.fd, parts.as_ptr(), 1, -1, libc::RWF_NOWAIT),
                Way::Out(_) => libc::pwritev2(self.fd, parts.as_ptr(), 3, -1, libc::RWF_NOWAIT),
            }
        };
        record_progress(transfer, moved).or_else(dry)
    }

    /// Moves bytes once, waiting until some can be moved.
    #[allow(unsafe_code)]
    fn sleep_and_move(&self, transfer: &mut Transfer) -> io::Result<Step> {
        if let Some(until) = self.until {
            let events = match transfer.way {
                Way::In(_) => libc::POLLIN,
                Way::Out(_) => libc::POLLOUT,
            };
            if !self.poll(events, Some(until))? {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            // Few bytes may have room where many would wait.
            return self.attempt(transfer);
        }
        let parts = transfer.rest();
        // SAFETY: `parts` describes memory that may be used in this way, by the contract of `Transfer`.
        let moved = unsafe {
            match transfer.way {
                Way::In(_) => libc::read(self.fd, parts[0].iov_base, parts[0].iov_len),
                Way::Out(_) => libc::writev(self.fd, parts.as_ptr(), 3),
            }
        };
        record_progress(transfer, moved)
    }

    /// Whether one of `events` (or an error) is there, waiting for it until then (`None`: for ever).
    fn poll(&self, events: i16, until: Option<Instant>) -> io::Result<bool> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        poll(self.fd, events, left)
    }

    /// Whether the descriptor waits where it has no room, and has none for `len` bytes even if there is nothing in it.
    #[allow(unsafe_code)]
    pub fn would_wait(&self, len: usize) -> bool {
        // SAFETY: a question without arguments.
        let flags = unsafe { libc::fcntl(self.fd, libc::F_GETFL) };
        let waits = flags != -1 && flags & libc::O_NONBLOCK == 0 && self.until.is_none();
        waits && self.room().is_some_and(|room| len > room)
    }

    /// Bytes that there is room for in an empty descriptor; `None` where it is another kind of file.
    #[allow(unsafe_code)]
    fn room(&self) -> Option<usize> {
        let mut room: c_int = 0;
        let mut size = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: room for a number, and the number of its bytes.
        let answer = unsafe {
            libc::getsockopt(
                self.fd,
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw mut room).cast(),
                &raw mut size,
            )
        };
        if answer == -1 {
            // SAFETY: a question without arguments.
            room = unsafe { libc::fcntl(self.fd, libc::F_GETPIPE_SZ) };
        }
        usize::try_from(room).ok()
    }

    /// Whether all that was written has been read.
    #[allow(unsafe_code)]
    pub fn is_read(&self) -> bool {
        let mut left: c_int = -1;
        // A socket tells what it has sent and a pipe what is in it.
        // SAFETY: room for a number.
        let asked = unsafe { libc::ioctl(self.fd, libc::TIOCOUTQ, &raw mut left) };
        if asked == -1 {
            // SAFETY: as above.
            unsafe { libc::ioctl(self.fd, libc::FIONREAD, &raw mut left) };
        }
        left == 0
    }

    /// Whether nobody can read any more what is written.
    pub fn is_broken(&self) -> bool {
        let mut asked = pollfd {
            fd: self.fd,
            events: 0,
            revents: 0,
        };
        look(&mut asked, 0).is_ok() && asked.revents != 0
    }

    /// Whether there is something to read, or the end, waiting for it until then (`None`: for ever).
    pub fn wait_readable(&self, py: Python<'_>, until: Option<Instant>) -> PyResult<bool> {
        // An error is for the call that waits to tell.
        let is_ready = || poll(self.fd, libc::POLLIN, Some(Duration::ZERO)).unwrap_or(false);
        let is_over = || until.is_some_and(|until| until <= Instant::now());
        if is_ready() {
            return Ok(true);
        }
        if !is_over() && py.detach(|| bindings::spin_briefly(is_ready)) {
            return Ok(true);
        }
        loop {
            // A signal that came until now has interrupted nothing.
            wait::look_for_signals_now(py)?;
            match py.detach(|| self.poll(libc::POLLIN, until)) {
                Ok(ready) if ready || is_over() => return Ok(ready),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => py.check_signals()?,
                Err(error) => return Err(from_os(py, &error)),
            }
        }
    }
}

/// Adds what a call has moved.
fn record_progress(transfer: &mut Transfer, moved: isize) -> io::Result<Step> {
    match usize::try_from(moved) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(0) if transfer.is_whole() => Ok(Step::Moved),
        Ok(0) => Ok(match transfer.way {
            Way::In(_) => Step::Eof,
            Way::Out(_) => Step::Dry,
        }),
        Ok(moved) => {
            transfer.done += moved;
            Ok(Step::Moved)
        }
    }
}

/// An attempt that failed because it may not wait, or because nobody can say whether it would (an old kernel, another kind
/// of file): there is more to be learnt by waiting.
fn dry(error: io::Error) -> io::Result<Step> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(Step::Dry),
        _ => Err(error),
    }
}

fn poll(fd: RawFd, events: i16, span: Option<Duration>) -> io::Result<bool> {
    let mut asked = pollfd {
        fd,
        events,
        revents: 0,
    };
    // Rounded up: who wakes early would only look again.
    let milliseconds = span.map_or(-1, |span| {
        c_int::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
    });
    look(&mut asked, milliseconds)
}

#[allow(unsafe_code)]
fn look(asked: &mut pollfd, milliseconds: c_int) -> io::Result<bool> {
    // SAFETY: one structure, which is ours.
    match unsafe { libc::poll(asked, 1, milliseconds) } {
        -1 => Err(io::Error::last_os_error()),
        count => Ok(count > 0),
    }
}

trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for io::Result<T> {
    #[inline]
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| from_os(py, &error))
    }
}
