//! Helpers that restrict the environment of a test, and that make children by bare system calls.

use procession::{ByteQueue, Error, Semaphore, resident_bytes};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const MIB: u64 = 1 << 20;
/// The part of 64 MiB that may stay reserved for later allocations.
pub const LITTLE: u64 = 32 * MIB;
/// Later than any answer comes; only a test that fails waits so long.
pub const LATE: Duration = Duration::from_secs(12);
/// The smallest possible heap.
pub const SMALL: [(&str, &str); 1] = [("PROCESSION_HEAP_BYTES", "67108864")];

/// Prints the reason why a test is skipped.
pub fn skipped(reason: impl core::fmt::Display) {
    eprintln!("skipped: {reason}");
}

// ---- children by hand ----

/// Makes a child by a bare clone(2), so that no fork handlers run. Returns its pid.
#[allow(unsafe_code)]
pub fn by_bare_clone(work: impl FnOnce()) -> i32 {
    // SAFETY: as fork in a program with one thread: the call copies this process, and both go on here.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        0 => {
            work();
            // SAFETY: the call ends the child at once, and runs no exit handlers of the parent.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            pid as i32
        }
    }
}

/// Forks a child that runs `work` and ends with code 0, or with 101 if it panics. Returns its pid, or the error of
/// fork.
#[allow(unsafe_code)]
pub fn try_by_hand(work: impl FnOnce()) -> std::io::Result<i32> {
    // SAFETY: the child ends without returning. Of the things that another thread may have locked it uses only this
    // crate.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: the call never returns, and has no preconditions.
            unsafe { libc::_exit(if worked.is_ok() { 0 } else { 101 }) }
        }
        pid => Ok(pid),
    }
}

pub fn by_hand(work: impl FnOnce()) -> i32 {
    try_by_hand(work).expect("a fork")
}

/// Reaps a child, and returns its status as waitpid(2) gives it.
#[allow(unsafe_code)]
pub fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a valid, writable int.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EINTR),
            "no child {pid}"
        );
    }
    status
}

#[allow(unsafe_code)]
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: kill has no preconditions on memory. The pid belongs to a child that this test has made and not reaped.
    unsafe { libc::kill(pid, signal) };
}

/// Returns the letter of a process's state in /proc; a space if there is no such process.
pub fn state_of(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.chars().next().unwrap_or(' ')
}

pub fn is_gone(pid: i32) -> bool {
    matches!(state_of(pid), 'Z' | ' ')
}

/// Waits until a condition is true. Returns whether it became true in time.
pub fn comes_true(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + LATE;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Waits until a condition is true, and meanwhile waits in vain for a permit again and again, so that this process
/// clears up after the dead. Returns whether the condition became true in time.
pub fn comes_true_looking_around(mut condition: impl FnMut() -> bool) -> bool {
    let permits = Semaphore::new(0).expect("a semaphore");
    let end = Instant::now() + LATE;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        let _ = permits.acquire_timeout(Duration::from_millis(1200));
    }
    true
}

/// Runs `work` in a thread, and returns whether it finished in time. If not, calls `help`, after which it must finish.
pub fn ends_in_time<T: Send>(work: impl FnOnce() -> T + Send, help: impl FnOnce()) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        if comes_true(|| thread.is_finished()) {
            return Some(thread.join().expect("it does not panic"));
        }
        help();
        let _ = thread.join();
        None
    })
}

/// A way to send bytes from one process to another without the code under test.
pub struct Teller {
    reader: std::fs::File,
    writer: OwnedFd,
}

impl Teller {
    pub fn new() -> Self {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        Self {
            reader: reader.into(),
            writer,
        }
    }

    pub fn tell(&self, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        rustix::io::write(&self.writer, &bytes).expect("it is heard");
    }

    /// Receives the next word; `None` if none comes in time.
    pub fn hear(&self) -> Option<u64> {
        let mut asked = [rustix::event::PollFd::new(
            &self.reader,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec {
            tv_sec: LATE.as_secs() as i64,
            tv_nsec: 0,
        };
        if rustix::event::poll(&mut asked, Some(&timeout)) != Ok(1) {
            return None;
        }
        let mut bytes = [0; 8];
        (&self.reader).read_exact(&mut bytes).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }

    /// Receives the next word, however long it takes.
    pub fn hear_for_ever(&self) -> u64 {
        let mut bytes = [0; 8];
        (&self.reader).read_exact(&mut bytes).expect("a word");
        u64::from_ne_bytes(bytes)
    }

    /// Returns whether a word comes within a moment.
    pub fn is_told(&self) -> bool {
        let mut asked = [rustix::event::PollFd::new(
            &self.reader,
            rustix::event::PollFlags::IN,
        )];
        let moment = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut asked, Some(&moment)) == Ok(1)
    }
}

/// Makes a queue in a heap of 64 MiB.
pub fn large_queue() -> ByteQueue {
    let queue = ByteQueue::unbounded().expect("a queue");
    for n in 0..64 {
        queue.put(&vec![n; MIB as usize]).expect("room");
    }
    queue
}

pub fn resident() -> u64 {
    resident_bytes().expect("a heap")
}

/// Puts until there is no memory for another message.
pub fn fill(queue: &ByteQueue) {
    for len in [1 << 20, 60_000, 20_000, 9_000] {
        let bytes = vec![1; len];
        loop {
            match queue.put(&bytes) {
                Ok(()) => {}
                Err(Error::OutOfMemory { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

// ---- births ----

/// A flag in shared memory. 1: forked children wait before their first instruction.
static GATE: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

#[allow(unsafe_code)]
fn gate() -> Option<&'static AtomicU32> {
    // SAFETY: the pointer is null, or points to shared memory that stays mapped as long as this program runs.
    unsafe { GATE.load(Ordering::Relaxed).as_ref() }
}

/// Waits in a forked child, before any other code runs in the child.
extern "C" fn at_birth() {
    while gate().is_some_and(|gate| gate.load(Ordering::Relaxed) == 1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Registers the fork handler before `main`, so that it runs before all other handlers.
#[allow(unsafe_code)]
extern "C" fn before_main() {
    // SAFETY: the function is never unloaded, and does not unwind.
    unsafe { libc::pthread_atfork(None, None, Some(at_birth)) };
}

#[used]
#[allow(unsafe_code)]
// SAFETY: functions in this section are called before `main`, with the program's arguments, which this one ignores.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// Sets whether forked children wait from now on. If not, the waiting children go on.
#[allow(unsafe_code)]
pub fn children_wait(wait: bool) {
    if gate().is_none() {
        // SAFETY: the mapping is new, and is never unmapped.
        let page = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(page, libc::MAP_FAILED);
        GATE.store(page.cast(), Ordering::Relaxed);
    }
    gate()
        .expect("it is made")
        .store(u32::from(wait), Ordering::Relaxed);
}

// ---- system calls that are not there ----

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

/// Returns a line of a filter: its operation, the number of lines to skip if it is true and if it is not, and its
/// operand.
type Line = (u16, u8, u8, u32);
const ALLOW: Line = (RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);

fn refuse(errno: i32) -> Line {
    (RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// Installs a filter of system calls for all threads and later children of this process. Returns false if that is not
/// allowed.
#[allow(unsafe_code)]
fn filter(lines: &[Line]) -> bool {
    let mut code: Vec<libc::sock_filter> = lines
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: the program stays in memory until the call returns, and the call copies it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            ) == 0
    }
}

/// Makes these system calls fail with `errno` from now on.
pub fn refuse_calls(calls: &[i64], errno: i32) -> bool {
    let mut lines = vec![(LOAD, 0, 0, NUMBER)];
    for &call in calls {
        lines.extend([(EQUAL, 0, 1, call as u32), refuse(errno)]);
    }
    lines.push(ALLOW);
    filter(&lines)
}

pub fn refuse_pidfds(errno: i32) -> bool {
    refuse_calls(&[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal], errno)
}

/// Makes locks of open file descriptions fail as unknown from now on.
pub fn refuse_locks_of_descriptions() -> bool {
    let commands = [libc::F_OFD_GETLK, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
    let mut lines = vec![
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 0, 4, libc::SYS_fcntl as u32),
        (LOAD, 0, 0, SECOND_ARGUMENT),
    ];
    for (n, &command) in commands.iter().enumerate() {
        lines.push((EQUAL, 3 - n as u8, 0, command as u32));
    }
    lines.extend([ALLOW, refuse(libc::EINVAL)]);
    filter(&lines)
}

/// Makes fork fail (EAGAIN) from now on, for good. Threads, and programs that are started without fork, can still be
/// started.
pub fn refuse_forks() -> bool {
    let clone = (EQUAL, 0, 3, libc::SYS_clone as u32);
    let mut lines = vec![(LOAD, 0, 0, NUMBER)];
    #[cfg(target_arch = "x86_64")]
    lines.extend([(EQUAL, 0, 1, libc::SYS_fork as u32), refuse(libc::EAGAIN)]);
    // The clone of a fork has no CLONE_VM.
    lines.extend([
        clone,
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 1, 0, libc::CLONE_VM as u32),
        refuse(libc::EAGAIN),
        ALLOW,
    ]);
    filter(&lines)
}

/// Leaves namespaces. Returns false if that is not allowed.
#[allow(unsafe_code)]
pub fn unshare(what: i32) -> bool {
    // SAFETY: the call has no preconditions.
    unsafe { libc::unshare(what) == 0 }
}
