//! The cost of asking whether another process of the program is alive. It must not depend much on the number of
//! processes.

use std::thread;
use std::time::Instant;

use procession::{Process, StartMethod};

use crate::Result;
use crate::contest::{Bound, Contender, Effort, Figure, Group, Target, With, median};

const FEW: &str = "procession, 2 processes";
const MANY: &str = "procession, 1000 processes";

/// Number of questions that are timed together.
const BATCH: usize = 1000;

/// Returns the group of this file.
pub fn groups() -> Vec<Group> {
    let contender = |name, processes, most| {
        Contender::new(name, move |effort| measure(processes, effort)).target(Target {
            figure: 0,
            bound: Bound::AtMost,
            amount: most,
            with: With::Unit,
        })
    };
    vec![Group {
        name: "whether a process is alive",
        figures: &[Figure {
            name: "", unit: "µs"
        }],
        references: &[FEW],
        contenders: vec![contender(FEW, 2, 3.0), contender(MANY, 1000, 20.0)],
    }]
}

/// The children of a measurement, which end with it.
struct Crowd(Vec<Process<()>>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = child.kill();
        }
        for child in self.0.drain(..) {
            let _ = child.join();
        }
    }
}

/// Returns the median time of a question, asked about each child in turn, in a program of `processes` processes.
fn measure(processes: usize, effort: Effort) -> Result<Vec<f64>> {
    let mut crowd = Crowd(Vec::new());
    for _ in 1..processes {
        crowd
            .0
            .push(Process::builder().method(StartMethod::Fork).spawn(rest, ())?);
    }
    let children = procession::active_children();
    if children.len() != processes - 1 {
        return Err(format!("{} of {} children live", children.len(), processes - 1).into());
    }
    let mut times = Vec::new();
    let mut whom = children.iter().cycle();
    for _ in 0..effort.of(25) {
        let begin = Instant::now();
        let alive = whom.by_ref().take(BATCH).filter(|child| child.is_alive()).count();
        times.push(begin.elapsed().as_nanos() as f64 / 1e3 / BATCH as f64);
        if alive != BATCH {
            return Err(format!("{alive} of {BATCH} were alive").into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(median(&times).into_iter().collect())
}

/// Sleeps until the process is killed.
fn rest() {
    loop {
        thread::park();
    }
}
