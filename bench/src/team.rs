//! Processes or threads that begin together, and what each of them reports.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use procession::Process;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::shared::{Shareable, Shared};
use crate::{Result, futex};

/// Longer than any measurement takes: a member that has not finished by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// The memory that a team shares.
#[repr(C)]
struct Ground {
    /// Number of members that are ready.
    ready: AtomicU32,
    /// 1 once all may begin.
    go: AtomicU32,
    /// 1 when members that run until they are stopped should stop.
    stop: AtomicU32,
    /// Number of members that have done their part; see [`Start::last_of`].
    done: AtomicU32,
}

// SAFETY: atomics only.
unsafe impl Shareable for Ground {}

/// A member's view of the beginning and the end.
pub struct Start<'g>(&'g Ground);

impl Start<'_> {
    /// Says that this member is ready, and waits until all are.
    pub fn wait(&self) {
        self.0.ready.fetch_add(1, Ordering::AcqRel);
        while self.0.go.load(Ordering::Acquire) == 0 {
            futex::wait(&self.0.go, 0);
        }
    }

    /// Returns whether members that run until they are stopped should stop.
    pub fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed) != 0
    }

    /// Returns whether the caller is the last of `members`, each of which calls this once.
    pub fn last_of(&self, members: usize) -> bool {
        self.0.done.fetch_add(1, Ordering::AcqRel) + 1 == members as u32
    }
}

/// The report of a member about its work.
#[derive(Serialize, Deserialize)]
pub struct Report {
    /// The time at which it finished, on the system's monotonic clock in nanoseconds.
    end: u64,
    /// Number of things that it has done.
    pub count: u64,
    /// The sum of the values that it has seen, to check that nothing was lost.
    pub sum: u64,
    /// Other values that it has measured.
    pub figures: Vec<f64>,
}

impl Report {
    /// Returns a report of a member that has finished now.
    pub fn done(count: u64, sum: u64) -> Self {
        Self {
            end: now(),
            count,
            sum,
            figures: Vec::new(),
        }
    }

    /// Adds other measured values to the report.
    pub fn with(self, figures: Vec<f64>) -> Self {
        Self { figures, ..self }
    }
}

/// The function of a member: it gets ready, calls [`Start::wait`], works, and reports.
pub type Member = Box<dyn FnOnce(&Start<'_>) -> Result<Report> + Send>;

/// Wraps a closure as a member.
pub fn member(work: impl FnOnce(&Start<'_>) -> Result<Report> + Send + 'static) -> Member {
    Box::new(work)
}

/// The results of a team.
#[derive(Serialize, Deserialize)]
pub struct Outcome {
    begin: u64,
    /// One for each member, in order.
    pub reports: Vec<Report>,
}

impl Outcome {
    /// Returns the seconds from the moment when all were ready until the last member finished.
    pub fn seconds(&self) -> f64 {
        let end = self
            .reports
            .iter()
            .map(|report| report.end)
            .max()
            .unwrap_or(self.begin);
        (end - self.begin) as f64 / 1e9
    }

    /// Fails unless the members together have done `count` things with the sum `sum`.
    pub fn check(&self, count: u64, sum: u64) -> Result<()> {
        let seen = self.reports.iter().fold((0, 0_u64), |(c, s), report| {
            (c + report.count, s.wrapping_add(report.sum))
        });
        if seen == (count, sum) {
            Ok(())
        } else {
            Err(format!("{count} messages with the sum {sum} were sent, and {seen:?} received").into())
        }
    }
}

/// The kind of the members.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Processes.
    Processes,
    /// Threads of one process.
    Threads,
}

/// Lets the members work until all have reported. With a `period`, stops them after it.
///
/// Threads run in their own process too: memory that they leave behind would make each later fork of this process
/// slower.
pub fn run(kind: Kind, members: Vec<Member>, period: Option<Duration>) -> Result<Outcome> {
    let ground = Shared::<Ground>::new()?;
    match kind {
        Kind::Processes => processes(&ground, members, period),
        Kind::Threads => apart(|| threads(&ground, members, period)),
    }
}

/// Runs `work` in its own process.
pub fn apart<R: Serialize + DeserializeOwned>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    let process = fork(work)?;
    let mut results = gather(vec![process], PATIENCE)?;
    Ok(results.pop().ok_or("nothing came back")?)
}

fn fork<R: Serialize + DeserializeOwned>(
    work: impl FnOnce() -> Result<R>,
) -> procession::Result<Process<Result<R, String>>> {
    // They are daemons, so that a measurement that fails leaves no process behind.
    Process::builder()
        .daemon(true)
        .fork(|| work().map_err(|error| error.to_string()))
}

/// Returns the results of the processes, and ends the processes. Fails if one fails, or has not finished in time.
fn gather<R: DeserializeOwned>(
    mut processes: Vec<Process<Result<R, String>>>,
    timeout: Duration,
) -> Result<Vec<R>> {
    let deadline = Instant::now() + timeout;
    let answers: Vec<_> = processes
        .iter_mut()
        .map(|process| process.join_timeout(deadline.saturating_duration_since(Instant::now())))
        .collect();
    for process in &processes {
        process.kill()?;
    }
    let (overdue, answers): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| matches!(answer, Err(procession::Error::Timeout)));
    // The reason of a failure says more than the timeouts of others that waited for the failed process.
    let results = answers
        .into_iter()
        .map(|answer| answer?.map_err(Into::into))
        .collect::<Result<_>>()?;
    if overdue.is_empty() {
        Ok(results)
    } else {
        Err(format!("it hangs: {} processes were not done in time", overdue.len()).into())
    }
}

fn processes(ground: &Ground, members: Vec<Member>, period: Option<Duration>) -> Result<Outcome> {
    let count = members.len();
    let mut running = Vec::with_capacity(count);
    for member in members {
        running.push(fork(|| member(&Start(ground)))?);
    }
    match conduct(ground, count, period, || running.iter().all(Process::is_alive)) {
        Ok(begin) => Ok(Outcome {
            begin,
            reports: gather(running, PATIENCE)?,
        }),
        Err(error) => Err(gather(running, Duration::from_millis(100)).err().unwrap_or(error)),
    }
}

fn threads(ground: &Ground, members: Vec<Member>, period: Option<Duration>) -> Result<Outcome> {
    let count = members.len();
    thread::scope(|scope| {
        let running: Vec<_> = members
            .into_iter()
            .map(|member| scope.spawn(|| member(&Start(ground))))
            .collect();
        let begin = conduct(ground, count, period, || {
            running.iter().all(|thread| !thread.is_finished())
        })?;
        let reports = running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked")?)
            .collect::<Result<_>>()?;
        Ok(Outcome { begin, reports })
    })
}

/// Waits until all members are ready, lets them begin, stops them after the period, and returns the time at which they
/// began.
fn conduct(
    ground: &Ground,
    count: usize,
    period: Option<Duration>,
    all_there: impl Fn() -> bool,
) -> Result<u64> {
    let since = Instant::now();
    while ground.ready.load(Ordering::Acquire) < count as u32 {
        if !all_there() || since.elapsed() > PATIENCE {
            return Err("a member did not get ready".into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    // The last member has said that it is ready, but does not sleep yet.
    thread::sleep(Duration::from_millis(2));
    let begin = now();
    ground.go.store(1, Ordering::Release);
    futex::wake(&ground.go, i32::MAX);
    if let Some(period) = period {
        thread::sleep(period);
        ground.stop.store(1, Ordering::Relaxed);
    }
    Ok(begin)
}

/// Returns the time of the monotonic clock in nanoseconds, which is the same for all processes.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the place to write to outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
