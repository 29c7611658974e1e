//! The fork server: a single-threaded copy of the program that forks on request, so that a child is as clean as a
//! started program and nearly as cheap as a fork.
//!
//! A process that wants one starts it, and passes its end of the socket on to its children. A request is one message:
//!
//! * bytes: the owner id of the new process, and how many locks (0 or 1) come with it;
//! * descriptors: the lock of the new process's witness, if there is one; the socket (for the child's own requests);
//!   standard input, output and error; the lifeline, if the child is a daemon.
//!
//! Everything else is in the process table. The server ends when no process has an end of the socket any more, so
//! when the program's last process ends.

pub(super) mod serve;

use super::exec;
use super::order::StartOrder;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::fork::steady;
use crate::heap::table::{Reserved, index_of};
use crate::os::kept::Kept;
use crate::os::{self, poll, send_fds};
use crate::wait::BACKSTOP;
use crate::wait::atomic::Ordering;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// This process's end of the socket, if there is a server, shared with the threads that are asking it. Locked only
/// under a no-fork guard, so a forked child never inherits it locked.
static SERVER: Mutex<Option<Arc<Kept>>> = Mutex::new(None);

fn server() -> MutexGuard<'static, Option<Arc<Kept>>> {
    SERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Uses the fork server that the parent uses.
pub(super) fn inherit(socket: OwnedFd) {
    let _steady = steady();
    *server() = Some(Arc::new(Kept::new(socket)));
}

/// Returns the socket to pass on to a child, if there is one.
pub(super) fn inherited() -> Option<Arc<Kept>> {
    let _steady = steady();
    server().clone()
}

/// Returns this process's end of the fork server's socket. Starts the server if there is none.
fn ours(heap: &'static Heap) -> Result<Arc<Kept>> {
    // A socket that the program closed is lost to this process.
    if let Some(socket) = inherited().filter(|socket| socket.get().is_some()) {
        return Ok(socket);
    }
    // Before the lock is taken, because reserving an entry clears up after dead processes.
    let memory = heap.descriptor()?.number();
    let reserved = heap.reserve(heap.me(), 0, "forkserver")?;
    let (socket, used) = ours_or_new(heap, &reserved, memory);
    let id = reserved.id;
    drop(reserved);
    if !used {
        heap.drop_entry(id)?;
    }
    socket
}

/// Returns the socket like [`ours`], with an entry reserved for a new server, and whether that entry is used.
fn ours_or_new(heap: &'static Heap, reserved: &Reserved, memory: RawFd) -> (Result<Arc<Kept>>, bool) {
    let _steady = steady();
    let mut server = server();
    if let Some(socket) = &*server
        && socket.get().is_some()
    {
        return (Ok(socket.clone()), false);
    }
    let started = send_fds::pair()
        .and_then(|(ours, theirs)| start_server(heap, reserved, memory, &theirs).map(|()| ours));
    let used = started.is_ok();
    (
        started.map(|ours| server.insert(Arc::new(Kept::new(ours))).clone()),
        used,
    )
}

/// Forgets the socket of a dead server. The next request starts another, unless another thread has done so.
fn forget(socket: &Arc<Kept>) {
    let _steady = steady();
    server().take_if(|known| Arc::ptr_eq(known, socket));
}

fn start_server(heap: &'static Heap, reserved: &Reserved, memory: RawFd, socket: &OwnedFd) -> Result<()> {
    let id = reserved.id;
    let order = StartOrder {
        heap: memory,
        heap_id: heap.id(),
        id,
        claim: reserved.claim_fd(),
        fork_server: true,
        lifeline: -1,
        server: socket.as_raw_fd(),
        stdout: -1,
    };
    let pid = exec::start_program(order, None, &[], None, [None; 3])?;
    heap.entry(index_of(id))
        .pid
        .store(u64::from(pid), Ordering::Release);
    os::signal::reap_when_dead(pid);
    Ok(())
}

/// Gives up the socket, because this process ends. The server ends when no other process uses it.
pub(super) fn leave() {
    let _steady = steady();
    *server() = None;
}

/// Lets the fork server make the process that the entry was reserved for. Returns its pid.
pub(super) fn request(
    heap: &'static Heap,
    reserved: &Reserved,
    stdio: [Option<BorrowedFd<'_>>; 3],
    lifeline: Option<BorrowedFd<'_>>,
) -> Result<u32> {
    let id = reserved.id;
    let mut socket = ours(heap)?;
    if let Err(error) = ask(&socket, reserved, stdio, lifeline) {
        if !is_gone(&socket) {
            return Err(error);
        }
        forget(&socket);
        socket = ours(heap)?;
        ask(&socket, reserved, stdio, lifeline)?;
    }
    let entry = heap.entry(index_of(id));
    loop {
        let phase = entry.phase.load(Ordering::Acquire);
        // Read before the pid, because a process that has ended had one. It may have started, worked and ended since
        // the request.
        let status = entry.status.load(Ordering::Acquire);
        let pid = entry.pid.load(Ordering::Acquire);
        if pid != 0 {
            return Ok(pid as u32);
        }
        let gone = is_gone(&socket);
        if gone {
            forget(&socket);
            // The server may have died right after the fork. Then the child writes its pid itself.
            std::thread::sleep(std::time::Duration::from_millis(20));
            match entry.pid.load(Ordering::Acquire) {
                0 => {}
                pid => return Ok(pid as u32),
            }
        }
        if status != 0 || gone {
            return Err(Error::Os {
                call: "the fork server could not fork".to_owned(),
                errno: libc::EAGAIN,
            });
        }
        let slice = os::clock::Deadline::Never.within(BACKSTOP / 20);
        entry.phase.futex_wait(phase, slice);
    }
}

/// Sends a request.
fn ask(
    socket: &Kept,
    reserved: &Reserved,
    stdio: [Option<BorrowedFd<'_>>; 3],
    lifeline: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let own = |(number, fd): (usize, Option<_>)| fd.unwrap_or_else(|| os::stdio::own_stdio(number));
    let socket = socket.get_or_lost("the socket to the fork server")?;
    let mut fds: Vec<_> = reserved.claim.iter().map(AsFd::as_fd).collect();
    let request = [reserved.id, fds.len() as u32];
    fds.push(socket);
    fds.extend(stdio.into_iter().enumerate().map(own));
    fds.extend(lifeline);
    send_fds::send(socket, bytemuck::bytes_of(&request), &fds)
}

/// Returns whether the server is dead, or its socket lost.
fn is_gone(socket: &Kept) -> bool {
    socket.get().is_none_or(poll::is_hung_up)
}
