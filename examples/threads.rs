//! The same work in threads and in processes.
//!
//! `check` finds the smallest divisor of each number that comes through a queue. It is written once, for any queue:
//! first threads run it, then processes, and the results must be equal.

use clap::Parser;
use procession::thread::{self, Thread};
use procession::{AnyQueue, Process, Queue, Result};
use std::time::Instant;

/// Finds divisors of numbers with threads, then with processes.
#[derive(Parser)]
struct Cli {
    /// Number of workers of each kind
    #[arg(long, default_value_t = 2, value_name = "N")]
    workers: usize,

    /// Number of numbers
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    numbers: u64,
}

/// A number, and its smallest divisor above 1.
type Found = (u64, u64);

/// Runs as a worker, in a thread or in a process.
fn check(numbers: &dyn AnyQueue<u64>, found: &dyn AnyQueue<Found>) -> Result<()> {
    for n in numbers.iter() {
        let divisor = (2..n).take_while(|d| d * d <= n).find(|d| n % d == 0);
        found.put((n, divisor.unwrap_or(n)))?;
    }
    Ok(())
}

fn check_in_a_process(numbers: Queue<u64>, found: Queue<Found>) -> Result<()> {
    check(&numbers, &found)
}

/// Puts the numbers, and counts the primes among the results.
fn hand_out(cli: &Cli, numbers: &dyn AnyQueue<u64>, found: &dyn AnyQueue<Found>) -> Result<usize> {
    let odd = (0..cli.numbers).map(|n| 1_000_001 + 2 * n);
    numbers.put_many(odd.collect())?;
    numbers.shutdown();
    let all = found.iter().take(cli.numbers as usize);
    Ok(all.filter(|(n, divisor)| n == divisor).count())
}

#[procession::main]
fn main() -> Result<()> {
    let cli = Cli::parse();

    let start = Instant::now();
    let (numbers, found) = (thread::Queue::unbounded(), thread::Queue::unbounded());
    let workers = (0..cli.workers).map(|_| {
        let (numbers, found) = (numbers.clone(), found.clone());
        Thread::spawn(move || check(&numbers, &found))
    });
    let workers = workers.collect::<Result<Vec<_>>>()?;
    let by_threads = hand_out(&cli, &numbers, &found)?;
    for worker in workers {
        worker.join()??;
    }
    println!(
        "{} threads: {by_threads} primes in {:.0?}",
        cli.workers,
        start.elapsed()
    );

    let start = Instant::now();
    let (numbers, found) = (Queue::unbounded()?, Queue::unbounded()?);
    let workers =
        (0..cli.workers).map(|_| Process::spawn(check_in_a_process, (numbers.clone(), found.clone())));
    let workers = workers.collect::<Result<Vec<_>>>()?;
    let by_processes = hand_out(&cli, &numbers, &found)?;
    for worker in workers {
        worker.join()??;
    }
    println!(
        "{} processes: {by_processes} primes in {:.0?}",
        cli.workers,
        start.elapsed()
    );

    assert_eq!(by_threads, by_processes, "the same function finds the same");
    Ok(())
}
