//! The cost of semaphores and conditions, in one process and between two.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use procession::{Condition, Semaphore};

use crate::Result;
use crate::contest::{Contender, Effort, Figure, Group, at_most};
use crate::shared::{Shareable, Shared};
use crate::team::{self, Kind, Report, member};

const SEM: &str = "sem_t, process-shared";
const COND: &str = "pthread condition, process-shared";
const NANOSECONDS: &[Figure] = &[Figure { name: "", unit: "ns" }];

/// Returns the groups of this file.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            name: "semaphore: acquire and release, nobody else there",
            figures: NANOSECONDS,
            references: &[SEM],
            contenders: vec![
                Contender::new("procession Semaphore", semaphore).target(at_most(1.5, SEM)),
                Contender::new(SEM, sem),
            ],
        },
        Group {
            name: "condition: lock, notify, unlock, nobody waits",
            figures: NANOSECONDS,
            references: &[COND],
            contenders: vec![
                Contender::new("procession Condition", |effort| {
                    timed(effort, &Ours::new()?, Turns::notify)
                })
                .target(at_most(1.5, COND)),
                Contender::new(COND, |effort| timed(effort, &Theirs::new()?, Turns::notify)),
            ],
        },
        Group {
            name: "condition: there and back between two processes",
            figures: &[Figure {
                name: "", unit: "µs"
            }],
            references: &[COND],
            contenders: vec![
                Contender::new("procession Condition", |effort| {
                    turns(Arc::new(Ours::new()?), effort)
                })
                .target(at_most(1.5, COND)),
                Contender::new(COND, |effort| turns(Arc::new(Theirs::new()?), effort)),
            ],
        },
    ]
}

/// Returns the time of one `step` in nanoseconds.
fn timed<T: ?Sized>(effort: Effort, it: &T, step: impl Fn(&T) -> Result<()>) -> Result<Vec<f64>> {
    let times = effort.of(5_000_000);
    for _ in 0..times / 100 {
        step(it)?;
    }
    let begin = Instant::now();
    for _ in 0..times {
        step(it)?;
    }
    Ok(vec![begin.elapsed().as_nanos() as f64 / times as f64])
}

fn semaphore(effort: Effort) -> Result<Vec<f64>> {
    timed(effort, &Semaphore::new(1)?, |semaphore| {
        let _permit = semaphore.acquire()?;
        Ok(())
    })
}

#[repr(C, align(64))]
struct Sem(UnsafeCell<libc::sem_t>);

// SAFETY: it is initialised, as process-shared, before its first use.
unsafe impl Shareable for Sem {}

/// Converts the C library's error code into an error.
fn checked(answer: libc::c_int) -> Result<()> {
    match answer {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error().into()),
        failure => Err(io::Error::from_raw_os_error(failure).into()),
    }
}

fn sem(effort: Effort) -> Result<Vec<f64>> {
    let place = Shared::<Sem>::new()?;
    let sem = place.0.get();
    // SAFETY: memory that stays where it is.
    checked(unsafe { libc::sem_init(sem, 1, 1) })?;
    timed(effort, &place, |place| {
        // SAFETY: initialised above.
        checked(unsafe { libc::sem_wait(place.0.get()) })?;
        // SAFETY: as above.
        checked(unsafe { libc::sem_post(place.0.get()) })
    })
}

/// A number under a lock, and a condition for its changes.
trait Turns: Send + Sync {
    /// Notifies while no thread waits.
    fn notify(&self) -> Result<()>;
    /// Waits until the number has this parity, adds one to it, and notifies.
    fn take_turn(&self, parity: u64) -> Result<()>;
}

/// A counter that only the owner of the lock uses.
#[repr(C, align(64))]
struct Count(AtomicU64);

// SAFETY: an atomic.
unsafe impl Shareable for Count {}

struct Ours {
    condition: Condition,
    count: Shared<Count>,
}

impl Ours {
    fn new() -> Result<Self> {
        Ok(Self {
            condition: Condition::new()?,
            count: Shared::new()?,
        })
    }
}

impl Turns for Ours {
    fn notify(&self) -> Result<()> {
        self.condition
            .lock()
            .map_err(procession::Error::from)?
            .notify_one();
        Ok(())
    }

    fn take_turn(&self, parity: u64) -> Result<()> {
        let mut guard = self.condition.lock().map_err(procession::Error::from)?;
        let mine = || self.count.0.load(Ordering::Relaxed) % 2 == parity;
        guard.wait_for(mine)?;
        self.count
            .0
            .store(self.count.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        guard.notify_one();
        Ok(())
    }
}

#[repr(C, align(64))]
struct Pair {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    condition: UnsafeCell<libc::pthread_cond_t>,
}

// SAFETY: both are initialised, as process-shared, before their first use.
unsafe impl Shareable for Pair {}

struct Theirs {
    pair: Shared<Pair>,
    count: Shared<Count>,
}

impl Theirs {
    fn new() -> Result<Self> {
        let pair = Shared::<Pair>::new()?;
        let mut of_mutex = MaybeUninit::uninit();
        let mut of_condition = MaybeUninit::uninit();
        // SAFETY: attributes are initialised first and destroyed last; the pair is in memory that stays where it is.
        let answers = unsafe {
            [
                libc::pthread_mutexattr_init(of_mutex.as_mut_ptr()),
                libc::pthread_mutexattr_setpshared(of_mutex.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED),
                libc::pthread_mutex_init(pair.mutex.get(), of_mutex.as_ptr()),
                libc::pthread_mutexattr_destroy(of_mutex.as_mut_ptr()),
                libc::pthread_condattr_init(of_condition.as_mut_ptr()),
                libc::pthread_condattr_setpshared(of_condition.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED),
                libc::pthread_cond_init(pair.condition.get(), of_condition.as_ptr()),
                libc::pthread_condattr_destroy(of_condition.as_mut_ptr()),
            ]
        };
        answers.into_iter().try_for_each(checked)?;
        Ok(Self {
            pair,
            count: Shared::new()?,
        })
    }

    fn locked(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        // SAFETY: initialised by `new`.
        checked(unsafe { libc::pthread_mutex_lock(self.pair.mutex.get()) })?;
        let answer = work();
        // SAFETY: locked above.
        checked(unsafe { libc::pthread_mutex_unlock(self.pair.mutex.get()) })?;
        answer
    }

    fn signal(&self) -> Result<()> {
        // SAFETY: initialised by `new`.
        checked(unsafe { libc::pthread_cond_signal(self.pair.condition.get()) })
    }
}

impl Turns for Theirs {
    fn notify(&self) -> Result<()> {
        self.locked(|| self.signal())
    }

    fn take_turn(&self, parity: u64) -> Result<()> {
        self.locked(|| {
            while self.count.0.load(Ordering::Relaxed) % 2 != parity {
                // SAFETY: both initialised by `new`, and the mutex is locked.
                checked(unsafe {
                    libc::pthread_cond_wait(self.pair.condition.get(), self.pair.mutex.get())
                })?;
            }
            self.count
                .0
                .store(self.count.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            self.signal()
        })
    }
}

/// Returns the time from one turn of a process to its next in microseconds.
fn turns(game: Arc<dyn Turns>, effort: Effort) -> Result<Vec<f64>> {
    let times = effort.of(20_000);
    let members = [0, 1]
        .map(|parity| {
            let game = game.clone();
            member(move |start| {
                start.wait();
                for _ in 0..times {
                    game.take_turn(parity)?;
                }
                Ok(Report::done(times, 0))
            })
        })
        .into_iter()
        .collect();
    let outcome = team::run(Kind::Processes, members, None)?;
    outcome.check(2 * times, 0)?;
    Ok(vec![outcome.seconds() * 1e6 / times as f64])
}
