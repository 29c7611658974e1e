//! Sockets that listen and connect. All of them are non-blocking; [`poll`] waits.

use crate::error::{Error, Result};
use crate::os::clock::{Deadline, span_until};
use rustix::event::PollFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseaddr, set_tcp_nodelay, socket_error, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect as begin, getsockname, listen, recv, sendmsg, socket_with,
};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

pub(crate) use rustix::event::PollFlags;

/// The number of connections that the system keeps until they are accepted.
const BACKLOG: i32 = 128;

/// The address of a socket.
#[derive(Clone, Copy)]
pub(crate) enum Endpoint<'a> {
    Path(&'a Path),
    /// An abstract name of unix(7), without the leading zero byte.
    Abstract(&'a [u8]),
    Tcp(SocketAddr),
}

impl Endpoint<'_> {
    fn family(self) -> AddressFamily {
        match self {
            Self::Path(_) | Self::Abstract(_) => AddressFamily::UNIX,
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
        }
    }

    fn unix(self) -> Result<Option<SocketAddrUnix>> {
        let address = match self {
            Self::Path(path) => SocketAddrUnix::new(path),
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
            Self::Tcp(_) => return Ok(None),
        };
        address.map(Some).map_err(|e| Error::errno("socket address", e))
    }

    fn socket(self) -> Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(self.family(), SocketType::STREAM, flags, None).map_err(|e| Error::errno("socket", e))
    }
}

/// Makes a socket that listens at `place`. A socket with a path is accessible to its owner only, from its first
/// moment.
pub(crate) fn listen_at(place: Endpoint<'_>) -> Result<OwnedFd> {
    let socket = place.socket()?;
    let bound = match (place, place.unix()?) {
        (Endpoint::Tcp(address), _) => {
            set_socket_reuseaddr(&socket, true).map_err(|e| Error::errno("setsockopt", e))?;
            bind(&socket, &address)
        }
        (_, Some(address)) => {
            // unix(7): the file gets the mode of the socket, less the umask.
            rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|e| Error::errno("fchmod", e))?;
            bind(&socket, &address)
        }
        (_, None) => Err(Errno::AFNOSUPPORT),
    };
    bound.map_err(|e| Error::errno("bind", e))?;
    listen(&socket, BACKLOG).map_err(|e| Error::errno("listen", e))?;
    Ok(socket)
}

/// Returns the address of a listening TCP socket: the system may have chosen the port.
pub(crate) fn tcp_address(socket: BorrowedFd<'_>) -> Result<SocketAddr> {
    let address = getsockname(socket).map_err(|e| Error::errno("getsockname", e))?;
    SocketAddr::try_from(address).map_err(|e| Error::errno("getsockname", e))
}

/// Returns the next connection, if one has arrived.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    loop {
        match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => return Ok(Some(set_nodelay(socket))),
            // This one was gone before it was accepted: take the next one, if any.
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(Error::errno("accept", errno)),
        }
    }
}

/// Sends small messages at once. A socket other than TCP does so anyway.
fn set_nodelay(socket: OwnedFd) -> OwnedFd {
    let _ = set_tcp_nodelay(&socket, true);
    socket
}

/// The state of a connection attempt.
pub(crate) enum Connecting {
    Done(OwnedFd),
    /// Begun: wait until the socket is writable.
    Begun(OwnedFd),
    /// Not begun, because too many connections wait to be accepted.
    Crowded,
}

/// Begins to connect.
pub(crate) fn connect(place: Endpoint<'_>) -> Result<Connecting> {
    let socket = place.socket()?;
    let begun = match (place, place.unix()?) {
        (Endpoint::Tcp(address), _) => begin(&socket, &address),
        (_, Some(address)) => begin(&socket, &address),
        (_, None) => Err(Errno::AFNOSUPPORT),
    };
    match begun {
        Ok(()) => Ok(Connecting::Done(set_nodelay(socket))),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Connecting::Begun(set_nodelay(socket))),
        Err(Errno::AGAIN) => Ok(Connecting::Crowded),
        Err(errno) => Err(Error::errno("connect", errno)),
    }
}

/// Returns the result of a connection attempt that was begun.
pub(crate) fn connected(socket: BorrowedFd<'_>) -> Result<()> {
    match socket_error(socket) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) | Err(errno) => Err(Error::errno("connect", errno)),
    }
}

/// Returns the user at the other end of a Unix socket, unless it is this process's own user or the superuser.
pub(crate) fn foreign_peer(socket: BorrowedFd<'_>) -> Option<u32> {
    let uid = socket_peercred(socket).ok()?.uid;
    (uid != rustix::process::geteuid() && !uid.is_root()).then_some(uid.as_raw())
}

/// Receives what has arrived into `room`. Returns the number of bytes, 0 at the end; `None` if nothing has arrived
/// yet.
pub(crate) fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> Result<Option<usize>> {
    loop {
        match recv(socket, &mut *room, RecvFlags::empty()) {
            Ok((len, _)) => return Ok(Some(len)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            // The peer is gone. What it had not read is lost.
            Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Some(0)),
            Err(errno) => return Err(Error::errno("recv", errno)),
        }
    }
}

/// Sends some of `parts`, one after the other. Returns the number of bytes; `None` if there is no room yet.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: [&[u8]; 2]) -> Result<Option<usize>> {
    let slices = parts.map(IoSlice::new);
    loop {
        let sent = sendmsg(
            socket,
            &slices,
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        );
        match sent {
            Ok(len) => return Ok(Some(len)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::BrokenPipe),
            Err(errno) => return Err(Error::errno("sendmsg", errno)),
        }
    }
}

/// Waits until one of `polled` is ready, a signal handler ran, or `slice` nanoseconds have passed. Returns whether
/// one is ready.
pub(crate) fn poll(polled: &mut [PollFd<'_>], deadline: Deadline, slice: u64) -> Result<bool> {
    let span = span_until(deadline.within(slice));
    match rustix::event::poll(polled, Some(&span)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::errno("poll", errno)),
    }
}

/// Describes to [`poll`] what to wait for at one socket.
pub(crate) fn asked(socket: BorrowedFd<'_>, what: PollFlags) -> PollFd<'_> {
    PollFd::from_borrowed_fd(socket, what)
}
