//! The things that can be waited for.

use crate::heap::registration::EventSource;
use crate::queue::{ByteQueue, JoinableQueue, Queue, SimpleQueue};
use crate::sync::Event;
use core::fmt;
use std::os::fd::{AsFd, BorrowedFd};

/// A thing that [`wait`](crate::wait) and [`Selector`](crate::Selector) can wait for.
///
/// | what | when it is ready |
/// | --- | --- |
/// | [`Queue`], [`JoinableQueue`], [`SimpleQueue`], [`ByteQueue`] | a `get` would not wait: there is a message, or the queue was shut down |
/// | [`Event`] | it is set |
/// | [`Connection`](crate::Connection), [`Receiver`](crate::Receiver) | a `recv` would not wait: there is a message, or the peer is gone |
/// | [`Process`](crate::Process) | it has ended |
/// | everything that is [`AsFd`]: sockets, pipes, [`Listener`](std::os::unix::net::UnixListener)s … | a read would not wait: there is something, the stream ended or is broken |
///
/// If several processes wait for the same thing, another one may be faster. So use the `try_` form of what you do next.
pub trait Waitable {
    /// Returns where the readiness comes from. For this crate's own use.
    #[doc(hidden)]
    fn source(&self) -> Source<'_>;
}

/// Where a [`Waitable`]'s readiness comes from.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Source<'t>(pub(super) SourceKind<'t>);

#[derive(Clone, Copy)]
pub(super) enum SourceKind<'t> {
    /// An object of the heap.
    Object(&'t dyn EventSource),
    /// A descriptor, which its owner keeps open.
    Descriptor(BorrowedFd<'t>),
    /// A descriptor that the selector must keep open.
    Sentinel(BorrowedFd<'t>),
    /// None: the thing is always ready.
    Always,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            SourceKind::Object(_) => "object",
            SourceKind::Descriptor(_) => "descriptor",
            SourceKind::Sentinel(_) => "sentinel",
            SourceKind::Always => "always ready",
        })
    }
}

impl<'t> Source<'t> {
    pub(crate) const ALWAYS: Self = Self(SourceKind::Always);

    pub(crate) fn sentinel(fd: BorrowedFd<'t>) -> Self {
        Self(SourceKind::Sentinel(fd))
    }

    pub(crate) fn object(thing: &'t dyn EventSource) -> Self {
        Self(SourceKind::Object(thing))
    }
}

impl<T: AsFd> Waitable for T {
    fn source(&self) -> Source<'_> {
        Source(SourceKind::Descriptor(self.as_fd()))
    }
}

impl<T> Waitable for Queue<T> {
    fn source(&self) -> Source<'_> {
        Source::object(self.ring())
    }
}

impl<T> Waitable for JoinableQueue<T> {
    fn source(&self) -> Source<'_> {
        Source::object(self.ring())
    }
}

impl<T> Waitable for SimpleQueue<T> {
    fn source(&self) -> Source<'_> {
        Source::object(self.ring())
    }
}

impl Waitable for ByteQueue {
    fn source(&self) -> Source<'_> {
        Source::object(self.ring())
    }
}

impl Waitable for Event {
    fn source(&self) -> Source<'_> {
        Source::object(self)
    }
}
