//! Memory and descriptors that are in use while a program has many objects, and after they are gone.
//!
//! Each fact is computed by a fresh run of this program, so that no earlier work affects it.

use std::env;
use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use clap::ValueEnum;
use procession::{ByteQueue, Lock, Process, Queue};

use crate::Result;
use crate::contest::{Bound, Contender, Effort, Figure, Group, Target, With};

const MEBIBYTE: f64 = (1 << 20) as f64;

/// The facts that can be computed.
#[derive(Clone, Copy, ValueEnum)]
pub enum Fact {
    /// Ten thousand locks and a million messages.
    Plenty,
    /// A burst, drained by the process that made it.
    BurstHere,
    /// A burst, drained by another process.
    BurstThere,
}

/// Returns the groups of this file.
pub fn groups() -> Vec<Group> {
    let contender = |name, fact: Fact| Contender::new(name, move |effort| in_new_program(fact, effort));
    vec![
        Group {
            name: "10,000 locks and 1,000,000 u64 in a queue",
            figures: &[
                Figure {
                    name: "descriptors of the process",
                    unit: "",
                },
                Figure {
                    name: "shared memory",
                    unit: "MiB",
                },
                Figure {
                    name: "growth of the process",
                    unit: "MiB",
                },
            ],
            references: &[],
            contenders: vec![
                contender("procession", Fact::Plenty)
                    .target(no_more_than(16.0, 0))
                    .target(no_more_than(64.0, 1))
                    .target(no_more_than(64.0, 2)),
            ],
        },
        Group {
            name: "1 GiB through an unbounded queue",
            figures: &[
                Figure {
                    name: "shared memory when it is full",
                    unit: "MiB",
                },
                Figure {
                    name: "shared memory more than before",
                    unit: "MiB",
                },
                Figure {
                    name: "this process more than before",
                    unit: "MiB",
                },
            ],
            references: &[],
            contenders: vec![
                contender("procession, drained by the same process", Fact::BurstHere)
                    .target(no_more_than(16.0, 1))
                    .target(no_more_than(16.0, 2)),
                contender("procession, drained by another process", Fact::BurstThere)
                    .target(no_more_than(16.0, 1))
                    .target(no_more_than(16.0, 2)),
            ],
        },
    ]
}

fn no_more_than(amount: f64, figure: usize) -> Target {
    Target {
        figure,
        bound: Bound::AtMost,
        amount,
        with: With::Unit,
    }
}

/// Computes the fact in another process of this program.
fn in_new_program(fact: Fact, effort: Effort) -> Result<Vec<f64>> {
    let name = fact.to_possible_value().ok_or("a fact without a name")?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("--fact").arg(name.get_name());
    if effort.quick {
        command.arg("--quick");
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}

impl Fact {
    /// Returns a number for each figure of the fact's group. `--quick` changes nothing here, because a smaller amount
    /// of work would be a different fact.
    pub fn work_out(self, _: Effort) -> Result<Vec<f64>> {
        // A process that hangs must not hang for ever.
        let (done, timeout) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if timeout.recv_timeout(Duration::from_mins(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("it hangs: not done after 60 s");
                std::process::abort();
            }
        });
        let figures = match self {
            Self::Plenty => plenty(),
            Self::BurstHere => burst(|queue| {
                drain(queue);
                Ok(())
            }),
            Self::BurstThere => burst(|queue| Ok(Process::spawn(drain, queue)?.join()?)),
        };
        drop(done);
        figures
    }
}

fn plenty() -> Result<Vec<f64>> {
    let before = resident()?;
    let locks: Vec<_> = (0..10_000).map(|_| Lock::new()).collect::<Result<_, _>>()?;
    let queue = Queue::<u64>::unbounded()?;
    for number in 0..1_000_000 {
        queue.put(number)?;
    }
    if (locks.len(), queue.len()) != (10_000, 1_000_000) {
        return Err("something is missing".into());
    }
    // One descriptor less: the folder itself is open while it is read.
    let descriptors = fs::read_dir("/proc/self/fd")?.count() - 1;
    Ok(vec![
        descriptors as f64,
        procession::resident_bytes()? as f64 / MEBIBYTE,
        (resident()? - before) / MEBIBYTE,
    ])
}

fn burst(drained: impl FnOnce(ByteQueue) -> Result<()>) -> Result<Vec<f64>> {
    const MESSAGE: usize = 1 << 20;
    let source = vec![1; MESSAGE];
    let queue = ByteQueue::unbounded()?;
    let before = (procession::resident_bytes()? as f64, resident()?);
    for _ in 0..1024 {
        queue.put(&source)?;
    }
    queue.shutdown();
    let full = procession::resident_bytes()? as f64;
    drained(queue)?;
    Ok(vec![
        full / MEBIBYTE,
        (procession::resident_bytes()? as f64 - before.0) / MEBIBYTE,
        (resident()? - before.1) / MEBIBYTE,
    ])
}

/// Takes the messages, reads each in place, and drops it.
fn drain(queue: ByteQueue) {
    while let Ok(message) = queue.get() {
        assert_eq!(
            (message.len(), message[message.len() - 1]),
            (1 << 20, 1),
            "a message is not what was sent"
        );
    }
}

/// Returns the resident memory of this process in bytes, shared memory included.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .ok_or("no VmRSS in /proc/self/status")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1024.0)
}
