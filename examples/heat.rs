//! Heat that spreads along a rod. Each process computes a part of the rod, and all go from step to step together.
//!
//! A barrier keeps them in step: no process writes the next state before all have read the current one. If one of them
//! is killed, the others get an error within a second, and do not wait for ever.

use procession::{Array, Barrier, Process, Result};

const CELLS: usize = 32;
const WORKERS: usize = 4;
const STEPS: usize = 200;

#[procession::main]
fn main() -> Result<()> {
    let mut cold = vec![0.0; CELLS];
    cold[CELLS / 2] = 1_000.0;
    let rod = [Array::from_slice(&cold)?, Array::from_slice(&cold)?];
    let step = Barrier::new(WORKERS)?;
    let start = |part| Process::spawn(work, (part, rod[0].clone(), rod[1].clone(), step.clone()));
    let workers = (0..WORKERS).map(start).collect::<Result<Vec<_>>>()?;
    for worker in workers {
        worker.join()??;
    }
    let end = rod[STEPS % 2].to_vec()?;
    for cell in &end {
        println!("{cell:7.2} {}", "#".repeat((cell / 2.0) as usize));
    }
    println!("{:.0} in all, as in the beginning", end.iter().sum::<f64>());
    Ok(())
}

/// Computes one part of the rod, step by step.
fn work(part: usize, even: Array<f64>, odd: Array<f64>, step: Barrier) -> Result<()> {
    let mine = part * CELLS / WORKERS..(part + 1) * CELLS / WORKERS;
    for number in 0..STEPS {
        let (now, next) = if number % 2 == 0 {
            (&even, &odd)
        } else {
            (&odd, &even)
        };
        let before = now.to_vec()?;
        for cell in mine.clone() {
            // The rod is a ring, so that no heat is lost at its ends.
            let (left, right) = (before[(cell + CELLS - 1) % CELLS], before[(cell + 1) % CELLS]);
            next.set(cell, before[cell] + (left - 2.0 * before[cell] + right) / 4.0)?;
        }
        step.wait()?;
    }
    Ok(())
}
