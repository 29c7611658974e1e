//! The fork server: a single-threaded copy of the program that forks when asked, so that a child is as clean as a
//! started program and nearly as cheap as a fork.
//!
//! A process that wants one starts it, and passes its end of the socket on to its children. A request is one message: the
//! owner id of the new process, and descriptors: the lock that is to witness its life, where there is one, the socket (for the
//! child's own requests), standard input, output and error, and the lifeline where the child is a daemon. Everything else is in the process table. The server ends when
//! nobody has an end of the socket any more, so when the program's last process ends.

use super::child::{self, StartOrder};
use super::leave;
use crate::error::{Error, Result};
use crate::heap::Heap;
use crate::heap::fork::steady;
use crate::heap::table::{Reserved, index_of};
use crate::os::fork::Forked;
use crate::os::kept::Kept;
use crate::os::{self, poll, send_fds};
use crate::wait::BACKSTOP;
use crate::wait::atomic::Ordering;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Our end of the socket, if there is a server, shared with those who are asking it. Locked only by who keeps this process
/// from forking, so that no child finds it locked.
static SERVER: Mutex<Option<Arc<Kept>>> = Mutex::new(None);

fn server() -> MutexGuard<'static, Option<Arc<Kept>>> {
    SERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Uses the fork server that our parent uses.
pub(super) fn inherit(socket: OwnedFd) {
    let _steady = steady();
    *server() = Some(Arc::new(Kept::new(socket)));
}

/// The socket to pass on to a child, if there is one.
pub(super) fn inherited() -> Option<Arc<Kept>> {
    let _steady = steady();
    server().clone()
}

/// Our end of the fork server's socket; starts it if there is none.
fn ours(heap: &'static Heap) -> Result<Arc<Kept>> {
    // One that the program closed is gone for this process.
    if let Some(socket) = inherited().filter(|socket| socket.get().is_some()) {
        return Ok(socket);
    }
    // Before the lock: making an entry, one looks after the dead.
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

/// The same with an entry for a server, and whether that is used.
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

/// The server behind this socket is dead: the next request starts another, unless somebody has done so.
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
    let pid = super::start::start_program(order, None, &[], None, [None; 3])?;
    heap.entry(index_of(id))
        .pid
        .store(u64::from(pid), Ordering::Release);
    os::signal::reap_when_dead(pid);
    Ok(())
}

/// This process ends: the server will, as soon as nobody else uses it.
pub(super) fn leave() {
    let _steady = steady();
    *server() = None;
}

/// Has the fork server make the process that this was reserved for; its pid.
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
        // Before the pid: what has ended had one. It may have come, done its work and gone since we asked.
        let status = entry.status.load(Ordering::Acquire);
        let pid = entry.pid.load(Ordering::Acquire);
        if pid != 0 {
            return Ok(pid as u32);
        }
        let gone = is_gone(&socket);
        if gone {
            forget(&socket);
            // It may have died just behind the fork; then the child says itself who it is.
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

fn is_gone(socket: &Kept) -> bool {
    socket.get().is_none_or(poll::is_hung_up)
}

/// The server's life. Never returns.
pub(super) fn serve(heap: &'static Heap, socket: OwnedFd) -> ! {
    os::fork::set_name("forkserver");
    // Ctrl-C is for the processes that the user sees.
    os::signal::ignore_interrupt(true);
    let events = os::signal::child_events();
    let mut born: HashMap<u32, u32> = HashMap::new();
    while let Ok(events) = &events {
        let [asked, ended] = poll::wait_readable([socket.as_fd(), events.as_fd()]);
        if ended {
            // The signal stands for any number of children.
            os::signal::clear_child_events(events);
            reap(heap, &mut born);
        }
        if asked {
            let mut request = [0u32; 2];
            match send_fds::receive(socket.as_fd(), bytemuck::bytes_of_mut(&mut request)) {
                Ok(Some((8, fds))) => make(heap, request, fds, &socket, events, &mut born),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
    // Nobody will ask any more; the children are on their own.
    os::fork::exit_now(0)
}

fn reap(heap: &Heap, born: &mut HashMap<u32, u32>) {
    while let Some((pid, status)) = os::pid::reap_any() {
        if let Some(id) = born.remove(&pid) {
            report(heap, id, status);
        }
    }
}

fn report(heap: &Heap, id: u32, status: i32) {
    let Some(entry) = heap.entry_of(id) else { return };
    entry
        .status
        .store(u64::from(status as u32) + 1, Ordering::Release);
    change_phase(entry);
}

fn change_phase(entry: &crate::heap::layout::ProcessEntry) {
    let phase = entry.phase.load(Ordering::Relaxed);
    entry.phase.swap(phase.wrapping_add(1), Ordering::AcqRel);
    entry.phase.futex_wake(u32::MAX);
}

fn make(
    heap: &'static Heap,
    [id, claims]: [u32; 2],
    mut fds: Vec<OwnedFd>,
    socket: &OwnedFd,
    events: &OwnedFd,
    born: &mut HashMap<u32, u32>,
) {
    let failed = |errno: i32| report(heap, id, errno << 8);
    if fds.len() < 4 + claims as usize {
        return failed(1);
    }
    let claim = (claims > 0).then(|| fds.remove(0));
    crate::heap::fork::adopt_as(id, claim.as_ref().map_or(-1, AsRawFd::as_raw_fd));
    match os::fork::fork() {
        Err(_) => failed(1),
        Ok(Forked::Parent(pid)) => {
            born.insert(pid, id);
            if let Some(entry) = heap.entry_of(id) {
                entry.pid.store(u64::from(pid), Ordering::Release);
                change_phase(entry);
            }
        }
        Ok(Forked::Child) => {
            drop(claim);
            let code = run_in_child(heap, fds, socket, events);
            finish(code)
        }
    }
}

/// In the forked child: takes its descriptors over and runs its function.
fn run_in_child(heap: &'static Heap, fds: Vec<OwnedFd>, socket: &OwnedFd, events: &OwnedFd) -> i32 {
    for server_only in [socket, events] {
        // They belong to the server's stack, which lives on in this copy of it.
        let _ = os::stdio::redirect_to_null(server_only.as_fd());
    }
    os::signal::no_child_events();
    os::signal::unblock_all();
    os::signal::ignore_interrupt(false);
    let mut fds = fds.into_iter();
    let Some(server) = fds.next() else { return 1 };
    for (number, fd) in fds.by_ref().take(3).enumerate() {
        if os::stdio::become_stdio(fd.as_fd(), number as RawFd).is_err() {
            return 1;
        }
    }
    if let Some(lifeline) = fds.next() {
        match os::lifeline::die_with(lifeline.as_fd()) {
            Ok(lifeline_end) => core::mem::forget(lifeline_end),
            Err(_) => return 1,
        }
    }
    inherit(server);
    child::run(heap)
}

/// Ends a forked child as its program would end, but for what its parent registered for its own end.
pub(super) fn finish(code: i32) -> ! {
    use std::io::Write;
    leave::leave(code);
    let _ = std::io::stdout().flush();
    os::fork::exit_now(code)
}
