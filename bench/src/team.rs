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

/// Longer than any measurement takes: what is not done by then never will be.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a team shares.
#[repr(C)]
struct Ground {
    /// Members that are ready.
    ready: AtomicU32,
    /// 1 once all may begin.
    go: AtomicU32,
    /// 1 once those that run until they are told to stop shall stop.
    stop: AtomicU32,
    /// Members that have done their part; see [`Start::last_of`].
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

    /// Whether those that run until they are told to stop shall stop.
    pub fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed) != 0
    }

    /// Called once by each of `members`: whether this is the last of them.
    pub fn last_of(&self, members: usize) -> bool {
        self.0.done.fetch_add(1, Ordering::AcqRel) + 1 == members as u32
    }
}

/// What a member says afterwards.
#[derive(Serialize, Deserialize)]
pub struct Report {
    /// When it was done, on the system's monotonic clock in nanoseconds.
    end: u64,
    /// How many things it has done.
    pub count: u64,
    /// The sum of what it has seen, to check that nothing was lost.
    pub sum: u64,
    /// What else it has measured.
    pub figures: Vec<f64>,
}

impl Report {
    /// Done, now.
    pub fn done(count: u64, sum: u64) -> Self {
        Self {
            end: now(),
            count,
            sum,
            figures: Vec::new(),
        }
    }

    /// With what else was measured.
    pub fn with(self, figures: Vec<f64>) -> Self {
        Self { figures, ..self }
    }
}

/// What a member does: get ready, [`Start::wait`], work, report.
pub type Member = Box<dyn FnOnce(&Start<'_>) -> Result<Report> + Send>;

/// A member, without the box being seen.
pub fn member(work: impl FnOnce(&Start<'_>) -> Result<Report> + Send + 'static) -> Member {
    Box::new(work)
}

/// What a team has done.
#[derive(Serialize, Deserialize)]
pub struct Outcome {
    begin: u64,
    /// One for each member, in order.
    pub reports: Vec<Report>,
}

impl Outcome {
    /// From the moment when all were ready until the last was done.
    pub fn seconds(&self) -> f64 {
        let end = self
            .reports
            .iter()
            .map(|report| report.end)
            .max()
            .unwrap_or(self.begin);
        (end - self.begin) as f64 / 1e9
    }

    /// Fails unless the members have together done `count` things that sum up to `sum`.
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

/// Who the members are.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Processes.
    Processes,
    /// Threads of one process.
    Threads,
}

/// Lets the members work until all have reported; with a `period`, tells them to stop after it.
///
/// Threads run in a process of their own too: memory that they leave behind would make every later fork of this one dearer.
pub fn run(kind: Kind, members: Vec<Member>, period: Option<Duration>) -> Result<Outcome> {
    let ground = Shared::<Ground>::new()?;
    match kind {
        Kind::Processes => processes(&ground, members, period),
        Kind::Threads => apart(|| threads(&ground, members, period)),
    }
}

/// Does something in a process of its own.
pub fn apart<R: Serialize + DeserializeOwned>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    let process = fork(work)?;
    let mut results = gather(vec![process], PATIENCE)?;
    Ok(results.pop().ok_or("nothing came back")?)
}

fn fork<R: Serialize + DeserializeOwned>(
    work: impl FnOnce() -> Result<R>,
) -> procession::Result<Process<Result<R, String>>> {
    // Daemons, so that a measurement that goes wrong leaves none behind.
    Process::builder()
        .daemon(true)
        .fork(|| work().map_err(|error| error.to_string()))
}

/// What the processes have to say, which end anyhow; an error if one fails or is not done in time.
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
    // Why one has failed says more than that others then waited in vain.
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

/// Waits until all are ready, lets them begin, and has them stop after the period; when they began.
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
    // The last of them still has to get from being ready to being asleep.
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

/// The monotonic clock in nanoseconds, which is the same for all processes.
fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the place to write to outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
