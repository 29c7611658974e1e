//! What the tests do to the place they run in, and children by hand.

use procession::{ByteQueue, Error, Semaphore, resident_bytes};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const MIB: u64 = 1 << 20;
/// What may stay of 64 MiB for those who ask for memory next.
pub const LITTLE: u64 = 32 * MIB;
/// Who gets an answer at all gets it sooner; only a test that fails waits so long.
pub const LATE: Duration = Duration::from_secs(12);
/// The smallest heap there can be.
pub const SMALL: [(&str, &str); 1] = [("PROCESSION_HEAP_BYTES", "67108864")];

/// Says why a test is not run here.
pub fn skipped(reason: impl core::fmt::Display) {
    eprintln!("skipped: {reason}");
}

// ---- children by hand ----

/// Makes a child as nobody does who wants its fork handlers to run: clone(2) by its number. Its pid.
#[allow(unsafe_code)]
pub fn by_bare_clone(work: impl FnOnce()) -> i32 {
    // SAFETY: like fork, for a program of one thread: it copies this process, and both go on here.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        0 => {
            work();
            // SAFETY: ends the child at once, with nothing of its parent's.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0, "{}", std::io::Error::last_os_error());
            pid as i32
        }
    }
}

/// Forks a child that runs `work` and ends with code 0, or 101 where it panics; its pid, or why there is none.
#[allow(unsafe_code)]
pub fn try_by_hand(work: impl FnOnce()) -> std::io::Result<i32> {
    // SAFETY: the child ends without returning, and uses nothing that another thread may hold but this crate.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: it never returns, and has no preconditions.
            unsafe { libc::_exit(if worked.is_ok() { 0 } else { 101 }) }
        }
        pid => Ok(pid),
    }
}

pub fn by_hand(work: impl FnOnce()) -> i32 {
    try_by_hand(work).expect("a fork")
}

/// Collects a child; its status as waitpid(2) gives it.
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
    // SAFETY: kill has no preconditions of memory; the pid is one that this test has made and not collected.
    unsafe { libc::kill(pid, signal) };
}

/// The letter of a process's state as /proc tells it; a space if there is none.
pub fn state_of(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.chars().next().unwrap_or(' ')
}

pub fn is_gone(pid: i32) -> bool {
    matches!(state_of(pid), 'Z' | ' ')
}

/// Waits for a condition to come true; whether it did.
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

/// Whether a condition comes true while this process waits in vain for a permit again and again, and so looks after the dead.
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

/// Runs `work` in a thread, and tells whether it came to an end in time. If not, `help` is called, and it must end then.
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

/// Bytes from one process to another that do not pass through what is tested.
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

    /// The next word; `None` if there is none in time.
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

    /// The next word, however long it takes.
    pub fn hear_for_ever(&self) -> u64 {
        let mut bytes = [0; 8];
        (&self.reader).read_exact(&mut bytes).expect("a word");
        u64::from_ne_bytes(bytes)
    }

    /// Whether it is told within a moment.
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

/// A queue of 64 MiB.
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

/// 1: children wait at their birth. In memory that they share.
static GATE: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

#[allow(unsafe_code)]
fn gate() -> Option<&'static AtomicU32> {
    // SAFETY: null, or shared memory that stays mapped as long as this program lives.
    unsafe { GATE.load(Ordering::Relaxed).as_ref() }
}

/// Waits in a forked child before anybody else's first instruction in it.
extern "C" fn at_birth() {
    while gate().is_some_and(|gate| gate.load(Ordering::Relaxed) == 1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Before `main`, so that it comes before what anybody else asks for.
#[allow(unsafe_code)]
extern "C" fn before_main() {
    // SAFETY: the function lives as long as the program, and does not unwind.
    unsafe { libc::pthread_atfork(None, None, Some(at_birth)) };
}

#[used]
#[allow(unsafe_code)]
// SAFETY: such functions are called with the program's arguments, which it ignores, before `main`.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

/// Whether children wait at their birth from now on; those that wait go on where not.
#[allow(unsafe_code)]
pub fn children_wait(wait: bool) {
    if gate().is_none() {
        // SAFETY: a fresh mapping, which stays.
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

/// A line of a filter: what it does, how many lines it skips where that is true and where not, and its operand.
type Line = (u16, u8, u8, u32);
const ALLOW: Line = (RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);

fn refuse(errno: i32) -> Line {
    (RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// Installs a filter of system calls for all threads of this process and all that it starts; false where that is not allowed.
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
    // SAFETY: the program lies in memory until the call returns, which copies it.
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

/// These system calls answer `errno` from now on.
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

/// Locks of open file descriptions are unknown from now on.
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

/// fork fails from now on (EAGAIN), for good; threads, and programs that are started without a fork, do not.
pub fn refuse_forks() -> bool {
    let clone = (EQUAL, 0, 3, libc::SYS_clone as u32);
    let mut lines = vec![(LOAD, 0, 0, NUMBER)];
    #[cfg(target_arch = "x86_64")]
    lines.extend([(EQUAL, 0, 1, libc::SYS_fork as u32), refuse(libc::EAGAIN)]);
    // The clone that fork is does not share its memory.
    lines.extend([
        clone,
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (ANY_BIT, 1, 0, libc::CLONE_VM as u32),
        refuse(libc::EAGAIN),
        ALLOW,
    ]);
    filter(&lines)
}

/// Leaves namespaces; false where that is not allowed.
#[allow(unsafe_code)]
pub fn unshare(what: i32) -> bool {
    // SAFETY: it has no preconditions.
    unsafe { libc::unshare(what) == 0 }
}
