//! Signals: reaping children whose handles were dropped, and the signal dispositions of a new process.

pub(crate) use rustix::process::Signal;

use crate::error::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering};

/// The signals that end a program at a terminal.
pub(crate) const FROM_TERMINAL: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// The number of pids in one list. Further lists are linked to the first.
const LIST: usize = 64;

/// Pids that the handler is to reap; 0 where free. Lists are only ever added, so the handler can walk them at any
/// time.
struct Forgotten {
    pids: [AtomicI32; LIST],
    next: AtomicPtr<Forgotten>,
}

static FIRST: Forgotten = Forgotten {
    pids: [const { AtomicI32::new(0) }; LIST],
    next: AtomicPtr::new(core::ptr::null_mut()),
};
/// The handler that was installed before ours.
static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);

/// Reaps `pid`, a child whose handle was dropped, when it ends.
///
/// The first call installs a handler for SIGCHLD, which also calls the previous handler. It reaps only such children,
/// so it does not disturb code that waits for its own.
#[allow(unsafe_code)]
pub(crate) fn reap_when_dead(pid: u32) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: zeroed is a valid sigaction; the handler is async-signal-safe (waitpid and atomics only); SA_RESTART
        // keeps other code's calls from failing with EINTR.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            let mut old: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = on_child as *const () as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP | libc::SA_SIGINFO;
            if libc::sigaction(libc::SIGCHLD, core::ptr::null(), &raw mut old) == 0
                && old.sa_sigaction != libc::SIG_IGN
            {
                PREVIOUS.store(old.sa_sigaction, Ordering::Relaxed);
                libc::sigaction(libc::SIGCHLD, &raw const action, core::ptr::null_mut());
            }
        }
    });
    remember(pid as i32);
    // The child may have ended before it was on the list.
    reap_all();
}

#[allow(unsafe_code)]
fn remember(pid: i32) {
    let mut list = &FIRST;
    loop {
        let free = |place: &&AtomicI32| {
            place
                .compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if list.pids.iter().any(|place| free(&place)) {
            return;
        }
        if list.next.load(Ordering::Acquire).is_null() {
            let more = Box::into_raw(Box::new(Forgotten {
                pids: [const { AtomicI32::new(0) }; LIST],
                next: AtomicPtr::new(core::ptr::null_mut()),
            }));
            let none = core::ptr::null_mut();
            if list
                .next
                .compare_exchange(none, more, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
            {
                // SAFETY: made above and never shared, since the exchange failed.
                drop(unsafe { Box::from_raw(more) });
            }
        }
        // SAFETY: not null (just seen or set), and lists are never freed.
        list = unsafe { &*list.next.load(Ordering::Acquire) };
    }
}

/// Empties the lists in a forked child, which has no children.
#[allow(unsafe_code)]
pub(crate) fn forget_all() {
    let mut list = &raw const FIRST;
    while !list.is_null() {
        // SAFETY: the first list is static, the others are never freed.
        let here = unsafe { &*list };
        here.pids
            .iter()
            .for_each(|place| place.store(0, Ordering::Relaxed));
        list = here.next.load(Ordering::Acquire);
    }
}

#[allow(unsafe_code)]
fn reap_all() {
    let mut list = &raw const FIRST;
    while !list.is_null() {
        // SAFETY: as above.
        let here = unsafe { &*list };
        for place in &here.pids {
            let pid = place.load(Ordering::Acquire);
            // SAFETY: waitpid with a pid that is (or was) our child's and no status; it never blocks with WNOHANG.
            if pid != 0 && unsafe { libc::waitpid(pid, core::ptr::null_mut(), libc::WNOHANG) } != 0 {
                let _ = place.compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        list = here.next.load(Ordering::Acquire);
    }
}

#[allow(unsafe_code)]
extern "C" fn on_child(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is this thread's own; a handler must leave it as it was.
    let errno = unsafe { *libc::__errno_location() };
    reap_all();
    let previous = PREVIOUS.load(Ordering::Relaxed);
    if previous != libc::SIG_DFL && previous != libc::SIG_IGN {
        // SAFETY: the handler that was installed for this signal; on the platforms of this room a handler that takes
        // one argument can be called with three.
        unsafe {
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                core::mem::transmute::<usize, _>(previous);
            handler(signal, info, context);
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Ignores Ctrl-C in this process, or restores its default action.
#[allow(unsafe_code)]
pub(crate) fn ignore_interrupt(ignore: bool) {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: setting a standard disposition.
    unsafe { libc::signal(libc::SIGINT, action) };
}

/// The eventfd of [`child_events`].
static EVENTS: AtomicI32 = AtomicI32::new(-1);

#[allow(unsafe_code)]
extern "C" fn on_event(_signal: i32) {
    let one = 1u64;
    // SAFETY: write is async-signal-safe; the descriptor is open as long as the handler is installed, and errno is put
    // back as it was.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(
            EVENTS.load(Ordering::Relaxed),
            (&raw const one).cast(),
            size_of::<u64>(),
        );
        *libc::__errno_location() = errno;
    }
}

/// Returns a descriptor that polls readable when a child of this process has ended, whichever thread gets the signal.
#[allow(unsafe_code)]
pub(crate) fn child_events() -> Result<OwnedFd> {
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    let events = rustix::event::eventfd(0, flags).map_err(|e| Error::errno("eventfd", e))?;
    EVENTS.store(events.as_raw_fd(), Ordering::Relaxed);
    // SAFETY: the handler only writes to a descriptor.
    unsafe { libc::signal(libc::SIGCHLD, on_event as *const () as usize) };
    Ok(events)
}

/// Lowers the descriptor of [`child_events`].
pub(crate) fn clear_child_events(events: &OwnedFd) {
    let _ = rustix::io::read(events, &mut [0u8; 8]);
}

/// Restores the default action of SIGCHLD, in a child forked by a process that called [`child_events`].
#[allow(unsafe_code)]
pub(crate) fn no_child_events() {
    // SAFETY: setting the default disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Unblocks every signal: a new process starts with an empty mask.
#[allow(unsafe_code)]
pub(crate) fn unblock_all() {
    // SAFETY: setting this thread's mask to the empty set.
    unsafe {
        let mut set: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, core::ptr::null_mut());
    }
}

/// Runs `start` with every signal blocked, so that a thread started by it leaves signals to the other threads.
#[allow(unsafe_code)]
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let (mut all, mut before) = (core::mem::MaybeUninit::uninit(), core::mem::MaybeUninit::uninit());
    // SAFETY: both sets are valid memory for the calls to fill; a new thread inherits the mask of the one that starts
    // it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let answer = start();
    // SAFETY: `before` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut()) };
    answer
}
