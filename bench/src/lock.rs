//! The cost of a lock without contention, and the number of hand-overs per second with contention.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use procession::Lock;

use crate::Result;
use crate::contest::{Contender, Effort, Figure, Group, Target, at_most};
use crate::shared::{Shareable, Shared};
use crate::team::{self, Kind, Report, member};

const PLAIN: &str = "pthread mutex, process-shared";
const ROBUST: &str = "pthread mutex, process-shared and robust";

const OPERATIONS: &[Figure] = &[
    Figure {
        name: "all together",
        unit: "million/s",
    },
    // An unfair lock is fast here, because its owner keeps it.
    Figure {
        name: "the share of the one who gets least",
        unit: "%",
    },
];

/// Returns the groups of this file.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            name: "lock and unlock, nobody else there",
            figures: &[Figure { name: "", unit: "ns" }],
            references: &[PLAIN, ROBUST],
            contenders: contenders(
                |make| Contender::new(make.name, move |effort| alone(&*(make.make)()?, effort)),
                &[at_most(1.5, PLAIN)],
            ),
        },
        contended("lock, 2 processes want it", 2),
        contended("lock, 4 processes want it", 4),
    ]
}

fn contended(name: &'static str, processes: u64) -> Group {
    Group {
        name,
        figures: OPERATIONS,
        references: &[PLAIN],
        contenders: contenders(
            |make| {
                Contender::new(make.name, move |effort| {
                    together((make.make)()?, processes, effort)
                })
            },
            &[],
        ),
    }
}

struct Make {
    name: &'static str,
    make: fn() -> Result<Arc<dyn Exclusion>>,
}

fn contenders(contender: impl Fn(Make) -> Contender, targets: &[Target]) -> Vec<Contender> {
    let make = |name, make| contender(Make { name, make });
    let ours = make("procession Lock", || Ok(Arc::new(Lock::new()?)));
    vec![
        targets.iter().fold(ours, |ours, &target| ours.target(target)),
        make(PLAIN, || Ok(Arc::new(Mutex::new(false)?))),
        make(ROBUST, || Ok(Arc::new(Mutex::new(true)?))),
    ]
}

/// Any implementation of a lock.
trait Exclusion: Send + Sync {
    /// Takes and releases the lock `times` times, and runs the given work each time it has the lock.
    fn repeat(&self, times: u64, inside: &dyn Fn()) -> Result<()>;
    /// Takes and releases the lock `times` times, without work in between.
    fn repeat_empty(&self, times: u64) -> Result<()>;
}

impl Exclusion for Lock {
    fn repeat(&self, times: u64, inside: &dyn Fn()) -> Result<()> {
        for _ in 0..times {
            let _guard = self.lock().map_err(procession::Error::from)?;
            inside();
        }
        Ok(())
    }

    fn repeat_empty(&self, times: u64) -> Result<()> {
        for _ in 0..times {
            drop(self.lock().map_err(procession::Error::from)?);
        }
        Ok(())
    }
}

/// A mutex of the C library in shared memory.
struct Mutex {
    place: Shared<Place>,
}

#[repr(C, align(64))]
struct Place(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: all bytes zero are an unlocked mutex in the C libraries of Linux, and `new` makes it process-shared before
// its first use.
unsafe impl Shareable for Place {}

impl Mutex {
    fn new(robust: bool) -> Result<Self> {
        let place = Shared::<Place>::new()?;
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: attributes are initialised first and destroyed last; the mutex is in memory that stays where it is.
        let answers = unsafe {
            [
                libc::pthread_mutexattr_init(attributes.as_mut_ptr()),
                libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED),
                if robust {
                    libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST)
                } else {
                    0
                },
                libc::pthread_mutex_init(place.0.get(), attributes.as_ptr()),
                libc::pthread_mutexattr_destroy(attributes.as_mut_ptr()),
            ]
        };
        match answers.into_iter().find(|&answer| answer != 0) {
            None => Ok(Self { place }),
            Some(failure) => Err(std::io::Error::from_raw_os_error(failure).into()),
        }
    }

    fn lock(&self) -> Result<()> {
        // SAFETY: a mutex that `new` has initialised.
        match unsafe { libc::pthread_mutex_lock(self.place.0.get()) } {
            0 => Ok(()),
            failure => Err(std::io::Error::from_raw_os_error(failure).into()),
        }
    }

    fn unlock(&self) {
        // SAFETY: the caller has locked the mutex.
        unsafe { libc::pthread_mutex_unlock(self.place.0.get()) };
    }
}

impl Exclusion for Mutex {
    fn repeat(&self, times: u64, inside: &dyn Fn()) -> Result<()> {
        for _ in 0..times {
            self.lock()?;
            inside();
            self.unlock();
        }
        Ok(())
    }

    fn repeat_empty(&self, times: u64) -> Result<()> {
        for _ in 0..times {
            self.lock()?;
            self.unlock();
        }
        Ok(())
    }
}

fn alone(lock: &dyn Exclusion, effort: Effort) -> Result<Vec<f64>> {
    let times = effort.of(10_000_000);
    lock.repeat_empty(times / 100)?;
    let begin = Instant::now();
    lock.repeat_empty(times)?;
    Ok(vec![begin.elapsed().as_nanos() as f64 / times as f64])
}

/// The data that the lock protects, on its own cache line.
#[repr(C, align(128))]
struct Till(AtomicU64);

// SAFETY: an atomic.
unsafe impl Shareable for Till {}

fn together(lock: Arc<dyn Exclusion>, processes: u64, effort: Effort) -> Result<Vec<f64>> {
    // To check after each turn whether to stop would cost more than some of the locks.
    const TURNS: u64 = 100;
    let period = Duration::from_millis(effort.of(500));
    let till = Arc::new(Shared::<Till>::new()?);
    let members = (0..processes)
        .map(|_| {
            let (lock, till) = (lock.clone(), till.clone());
            member(move |start| {
                // A load and a store, so that the count is wrong if two threads are here at once.
                let inside = || {
                    let seen = till.0.load(Ordering::Relaxed);
                    till.0.store(seen + 1, Ordering::Relaxed);
                };
                let mut turns = 0;
                start.wait();
                while !start.stopped() {
                    lock.repeat(TURNS, &inside)?;
                    turns += TURNS;
                }
                Ok(Report::done(turns, 0))
            })
        })
        .collect();
    let outcome = team::run(Kind::Processes, members, Some(period))?;
    let all = till.0.load(Ordering::Relaxed);
    outcome.check(all, 0)?;
    let least = outcome
        .reports
        .iter()
        .map(|report| report.count)
        .min()
        .unwrap_or(0);
    Ok(vec![
        all as f64 / outcome.seconds() / 1e6,
        least as f64 / all as f64 * 100.0,
    ])
}
