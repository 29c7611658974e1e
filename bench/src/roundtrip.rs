//! The time for a question and its answer: one message through a queue and one back through another; or both through a
//! pipe.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel as crossbeam;
use ipc_channel::ipc;
use procession::Queue;

use crate::contest::{Contender, Effort, Figure, Group, at_most};
use crate::shared::{Shareable, Shared};
use crate::team::{self, Kind, Report, member};
use crate::{Result, futex};

/// The contender that the target is a multiple of. It is the harder of the two: no system call is made while both sides
/// are awake.
const SPINNING: &str = "futex, spinning first";
const PURE: &str = "futex, sleeping at once";
const IPC: &str = "ipc-channel";
/// Number of times a member looks before it sleeps: some tens of microseconds.
const LOOKS: u32 = 2000;
/// Number of round trips before the measurement.
const WARM_UP: u64 = 1000;

/// The figures that [`converse`] returns.
pub const PERCENTILES: &[Figure] = &[
    Figure {
        name: "p50",
        unit: "µs",
    },
    Figure {
        name: "p99",
        unit: "µs",
    },
];

/// Returns the group of this file.
pub fn groups() -> Vec<Group> {
    let trips = |effort: Effort| effort.of(40_000);
    vec![Group {
        name: "round trip over two queues, or a pipe",
        figures: PERCENTILES,
        references: &[SPINNING, PURE],
        contenders: vec![
            Contender::new("procession Queue<u64>", move |effort| procession(trips(effort)))
                .target(at_most(2.0, SPINNING))
                .target(at_most(2.0, PURE)),
            Contender::new("procession pipe<u64, u64>", move |effort| pipe(trips(effort)))
                .target(at_most(2.0, SPINNING))
                .target(at_most(2.0, PURE)),
            Contender::new(SPINNING, move |effort| raw::<true>(trips(effort))).yardstick(),
            Contender::new(PURE, move |effort| raw::<false>(trips(effort))).yardstick(),
            Contender::new(IPC, move |effort| ipc_channel(trips(effort))),
            Contender::new("crossbeam-channel unbounded, threads", move |effort| {
                crossbeam_channel(trips(effort))
            })
            .yardstick(),
        ],
    }]
}

/// Lets one member ask and another answer, and returns the median and the 99th percentile of the round trips.
fn converse(
    kind: Kind,
    trips: u64,
    ask: impl Fn(u64) -> Result<u64> + Send + 'static,
    answer: impl Fn() -> Result<()> + Send + 'static,
) -> Result<Vec<f64>> {
    converse_after(Duration::ZERO, kind, trips, ask, answer)
}

/// Does the same with a pause before each question, in which the answering member falls asleep.
pub fn converse_after(
    pause: Duration,
    kind: Kind,
    trips: u64,
    ask: impl Fn(u64) -> Result<u64> + Send + 'static,
    answer: impl Fn() -> Result<()> + Send + 'static,
) -> Result<Vec<f64>> {
    let trips = trips + WARM_UP;
    let asker = member(move |start| {
        let mut times = Vec::with_capacity(trips as usize);
        start.wait();
        for question in 0..trips {
            if !pause.is_zero() {
                thread::sleep(pause);
            }
            let asked = Instant::now();
            let answer = ask(question)?;
            times.push(asked.elapsed().as_nanos() as f64 / 1e3);
            if answer != question {
                return Err(format!("the answer to {question} was {answer}").into());
            }
        }
        let mut times = times.split_off(WARM_UP as usize);
        times.sort_by(f64::total_cmp);
        let percentiles = [50, 99].map(|percent| times[times.len() * percent / 100]);
        Ok(Report::done(trips, 0).with(percentiles.to_vec()))
    });
    let answerer = member(move |start| {
        start.wait();
        for _ in 0..trips {
            answer()?;
        }
        Ok(Report::done(0, 0))
    });
    let mut outcome = team::run(kind, vec![asker, answerer], None)?;
    Ok(std::mem::take(&mut outcome.reports[0].figures))
}

fn procession(trips: u64) -> Result<Vec<f64>> {
    let (there, back) = (Queue::<u64>::unbounded()?, Queue::<u64>::unbounded()?);
    let (other_there, other_back) = (there.clone(), back.clone());
    converse(
        Kind::Processes,
        trips,
        move |question| {
            there.put(question)?;
            Ok(back.get()?)
        },
        move || Ok(other_back.put(other_there.get()?)?),
    )
}

fn pipe(trips: u64) -> Result<Vec<f64>> {
    let (here, there) = procession::pipe::<u64, u64>()?;
    converse(
        Kind::Processes,
        trips,
        move |question| {
            here.send(question)?;
            Ok(here.recv()?)
        },
        move || Ok(there.send(there.recv()?)?),
    )
}

fn ipc_channel(trips: u64) -> Result<Vec<f64>> {
    let (there, other_there) = ipc::channel::<u64>()?;
    let (other_back, back) = ipc::channel::<u64>()?;
    converse(
        Kind::Processes,
        trips,
        move |question| {
            there.send(question)?;
            Ok(back.recv()?)
        },
        move || Ok(other_back.send(other_there.recv()?)?),
    )
}

fn crossbeam_channel(trips: u64) -> Result<Vec<f64>> {
    let (there, other_there) = crossbeam::unbounded();
    let (other_back, back) = crossbeam::unbounded();
    converse(
        Kind::Threads,
        trips,
        move |question| {
            there.send(question)?;
            Ok(back.recv()?)
        },
        move || Ok(other_back.send(other_there.recv()?)?),
    )
}

/// A word on its own cache line: a number in the upper bits, and the flag [`ASLEEP`].
#[repr(C, align(128))]
struct Slot(AtomicU32);

/// The reader sleeps, or is about to.
const ASLEEP: u32 = 1;

/// One word for each direction.
#[repr(C)]
struct Court {
    there: Slot,
    back: Slot,
}

// SAFETY: atomics only.
unsafe impl Shareable for Court {}

impl Slot {
    /// Writes `number`, and wakes the reader if it sleeps.
    fn put(&self, number: u32) {
        if self.0.swap(number << 1, Ordering::AcqRel) & ASLEEP != 0 {
            futex::wake(&self.0, 1);
        }
    }

    /// Waits until the word has `number`.
    fn await_number<const SPIN: bool>(&self, number: u32) {
        let looks = if SPIN { LOOKS } else { 0 };
        for _ in 0..looks {
            if self.0.load(Ordering::Acquire) == number << 1 {
                return;
            }
            std::hint::spin_loop();
        }
        loop {
            let word = self.0.load(Ordering::Acquire);
            if word == number << 1 {
                return;
            }
            let asleep = word | ASLEEP;
            let armed = word == asleep
                || self
                    .0
                    .compare_exchange(word, asleep, Ordering::AcqRel, Ordering::Acquire)
                    .is_ok();
            if armed {
                futex::wait(&self.0, asleep);
            }
        }
    }
}

fn raw<const SPIN: bool>(trips: u64) -> Result<Vec<f64>> {
    let court = Arc::new(Shared::<Court>::new()?);
    let other = court.clone();
    let next = Cell::new(0);
    converse(
        Kind::Processes,
        trips,
        move |question| {
            // The numbers begin at 1, because the word is 0 at first.
            court.there.put(question as u32 + 1);
            court.back.await_number::<SPIN>(question as u32 + 1);
            Ok(question)
        },
        move || {
            next.set(next.get() + 1);
            other.there.await_number::<SPIN>(next.get());
            other.back.put(next.get());
            Ok(())
        },
    )
}
