//! Moving bytes through a descriptor. All system calls of the Python package are in this file.
//!
//! 1. Try to move the bytes without waiting, with the interpreter held (not if they are many).
//! 2. Release the interpreter, and try again for a few microseconds.
//! 3. Sleep in the kernel until some bytes can be moved. Then go on with step 2.
//!
//! Bytes that were not asked for stay in the descriptor, where other processes can read them: nothing is buffered here.

use crate::errors::from_os;
use crate::wait::{self, MUCH};
use libc::{c_int, iovec, pollfd};
use procession::bindings;
use pyo3::prelude::*;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A descriptor that bytes go through, usually a socket or a pipe.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    /// The descriptor.
    pub fd: RawFd,
    /// Whether the descriptor was found to be no socket. This is a hint: a program may replace the file of a
    /// descriptor.
    pub no_socket: &'a AtomicBool,
    /// The time at which waiting for the other side of a socket ends with `TimeoutError`.
    pub until: Option<Instant>,
}

/// Bytes that are being read or written. The memory belongs to the caller, which keeps it in place until the transfer
/// is over.
pub struct Transfer {
    way: Way,
    done: usize,
    len: usize,
}

#[derive(Clone, Copy)]
/// The direction of a transfer, with its memory.
enum Way {
    In(*mut u8),
    Out([iovec; 3]),
}

// SAFETY: the memory at the addresses stays in place whichever thread uses it (see `Transfer::into` and
// `Transfer::of`).
#[allow(unsafe_code)]
unsafe impl Send for Transfer {}

impl Transfer {
    /// Makes a transfer that reads `len` bytes.
    ///
    /// # Safety
    ///
    /// `len` bytes from `start` may be written, and stay in place, while the transfer exists.
    #[allow(unsafe_code)]
    pub unsafe fn into(start: *mut u8, len: usize) -> Self {
        Self {
            way: Way::In(start),
            done: 0,
            len,
        }
    }

    /// Makes a transfer that writes `parts`, one after the other.
    ///
    /// # Safety
    ///
    /// The parts may be read, and stay in place, while the transfer exists.
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

    /// Returns whether all bytes have been moved.
    pub fn is_whole(&self) -> bool {
        self.done == self.len
    }

    /// Returns whether some bytes have been moved.
    pub fn has_begun(&self) -> bool {
        self.done > 0
    }

    /// Returns the memory that the next bytes are read to (the first part only) or written from.
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
    /// The other side has closed the stream.
    Eof,
    /// No bytes could be moved without waiting.
    Dry,
}

impl Stream<'_> {
    /// Moves all of `transfer`. If the other side closes the stream, this returns with the transfer not whole.
    ///
    /// Raises what a signal handler raised, or the system's error. Then the bytes that were moved are lost.
    pub fn carry(&self, py: Python<'_>, transfer: &mut Transfer) -> PyResult<()> {
        // First without releasing the interpreter, which costs more than the call, and far more among busy threads.
        if transfer.len <= MUCH && !transfer.is_whole() && self.attempt(transfer).or_raise(py)? == Step::Eof {
            return Ok(());
        }
        while !transfer.is_whole() {
            match py.detach(|| self.carry_quickly(transfer)).or_raise(py)? {
                Step::Moved => break,
                Step::Eof => return Ok(()),
                Step::Dry => {}
            }
            // A signal that came before the next call does not interrupt it.
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

    /// Moves bytes as long as some can be moved within microseconds. Has moved all of them if the answer is `Moved`.
    fn carry_quickly(&self, transfer: &mut Transfer) -> io::Result<Step> {
        let is_long = transfer.len > MUCH;
        while !transfer.is_whole() {
            let mut answer = Ok(Step::Dry);
            let mut try_it = || {
                answer = self.attempt(transfer);
                !matches!(answer, Ok(Step::Dry))
            };
            // Beside the copying of many bytes, sleeping is cheap.
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

    /// Moves the bytes that can be moved without waiting.
    #[allow(unsafe_code)]
    fn attempt(&self, transfer: &mut Transfer) -> io::Result<Step> {
        let mut parts = transfer.rest();
        if !self.no_socket.load(Ordering::Relaxed) {
            // SAFETY: zero bytes are a valid header of a message without contents.
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

    /// Waits until some bytes can be moved, and moves them.
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
            // There may be room for a few bytes, so a blocking call for all of them could wait for too long.
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

    /// Waits for one of `events` or an error until `until` (`None`: for ever), and returns whether there is one.
    fn poll(&self, events: i16, until: Option<Instant>) -> io::Result<bool> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        poll(self.fd, events, left)
    }

    /// Returns whether writing `len` bytes to the descriptor would block, even if it is empty.
    #[allow(unsafe_code)]
    pub fn would_wait(&self, len: usize) -> bool {
        // SAFETY: this call takes no pointers.
        let flags = unsafe { libc::fcntl(self.fd, libc::F_GETFL) };
        let waits = flags != -1 && flags & libc::O_NONBLOCK == 0 && self.until.is_none();
        waits && self.room().is_some_and(|room| len > room)
    }

    /// Returns how many bytes an empty descriptor has room for, `None` if it is neither a socket nor a pipe.
    #[allow(unsafe_code)]
    fn room(&self) -> Option<usize> {
        let mut room: c_int = 0;
        let mut size = size_of::<c_int>() as libc::socklen_t;
        // SAFETY: `room` is a number, and `size` is the number of its bytes.
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
            // SAFETY: this call takes no pointers.
            room = unsafe { libc::fcntl(self.fd, libc::F_GETPIPE_SZ) };
        }
        usize::try_from(room).ok()
    }

    /// Returns whether all bytes that were written have been read.
    #[allow(unsafe_code)]
    pub fn is_read(&self) -> bool {
        let mut left: c_int = -1;
        // TIOCOUTQ is for sockets, FIONREAD for pipes.
        // SAFETY: `left` is a number.
        let asked = unsafe { libc::ioctl(self.fd, libc::TIOCOUTQ, &raw mut left) };
        if asked == -1 {
            // SAFETY: as above.
            unsafe { libc::ioctl(self.fd, libc::FIONREAD, &raw mut left) };
        }
        left == 0
    }

    /// Returns whether no process can read any more what is written.
    pub fn is_broken(&self) -> bool {
        let mut asked = pollfd {
            fd: self.fd,
            events: 0,
            revents: 0,
        };
        look(&mut asked, 0).is_ok() && asked.revents != 0
    }

    /// Waits for something to read, or the end, until `until` (`None`: for ever), and returns whether there is
    /// something.
    pub fn wait_readable(&self, py: Python<'_>, until: Option<Instant>) -> PyResult<bool> {
        // An error is reported by the call that waits.
        let is_ready = || poll(self.fd, libc::POLLIN, Some(Duration::ZERO)).unwrap_or(false);
        let is_over = || until.is_some_and(|until| until <= Instant::now());
        if is_ready() {
            return Ok(true);
        }
        if !is_over() && py.detach(|| bindings::spin_briefly(is_ready)) {
            return Ok(true);
        }
        loop {
            // A signal that came before the next call does not interrupt it.
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

/// Adds the bytes that a call has moved to the transfer.
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

/// Returns `Dry` for an attempt that failed because it may not wait, or because the kernel cannot tell for this kind
/// of file whether it would. In both cases the caller has to wait.
fn dry(error: io::Error) -> io::Result<Step> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(Step::Dry),
        _ => Err(error),
    }
}

/// Waits for one of `events` or an error, for at most `span` (`None`: for ever), and returns whether there is one.
fn poll(fd: RawFd, events: i16, span: Option<Duration>) -> io::Result<bool> {
    let mut asked = pollfd {
        fd,
        events,
        revents: 0,
    };
    // Rounded up: a thread that wakes too early would only poll again.
    let milliseconds = span.map_or(-1, |span| {
        c_int::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
    });
    look(&mut asked, milliseconds)
}

/// Calls `poll` for one descriptor, and returns whether there is an event.
#[allow(unsafe_code)]
fn look(asked: &mut pollfd, milliseconds: c_int) -> io::Result<bool> {
    // SAFETY: `asked` is one structure, borrowed mutably.
    match unsafe { libc::poll(asked, 1, milliseconds) } {
        -1 => Err(io::Error::last_os_error()),
        count => Ok(count > 0),
    }
}

/// Errors of the system as Python has them.
trait OrRaise<T> {
    /// Returns the value, or the error as an `OSError`.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for io::Result<T> {
    #[inline]
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| from_os(py, &error))
    }
}
