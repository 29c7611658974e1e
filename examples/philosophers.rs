//! Philosophers at a round table, each a process, with one fork between any two of them.
//!
//! To eat, a philosopher needs the forks on both sides. If all take the left fork first, there comes a moment when each
//! holds one fork and waits for the other. `inspect` detects this deadlock, and reports which process waits for which.
//! With `--polite` all take the fork with the smaller number first, and all of them eat.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use procession::{Lock, Process, inspect};

/// Philosophers share forks, and the main process checks for a deadlock.
#[derive(Parser)]
struct Cli {
    /// Number of philosophers
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    philosophers: u16,

    /// Let all take the fork with the smaller number first
    #[arg(long)]
    polite: bool,
}

#[procession::main]
fn main() -> ExitCode {
    match dine(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dine(cli: &Cli) -> procession::Result<()> {
    let n = usize::from(cli.philosophers);
    let forks = (0..n)
        .map(|_| Lock::new())
        .collect::<procession::Result<Vec<_>>>()?;
    let mut table = Vec::new();
    for seat in 0..n {
        let (left, right) = (seat, (seat + 1) % n);
        let (first, second) = if cli.polite {
            (left.min(right), left.max(right))
        } else {
            (left, right)
        };
        // Daemons end with this process, so none of them waits for ever.
        let philosopher = Process::builder()
            .name(format!("philosopher {seat}"))
            .daemon(true);
        table.push(philosopher.spawn(eat, (forks[first].clone(), forks[second].clone()))?);
    }
    while table.iter().any(Process::is_alive) {
        thread::sleep(Duration::from_millis(20));
        let seen = inspect()?;
        if let Some(deadlock) = seen.deadlocks.first() {
            print!("{deadlock}");
            println!("nobody will ever eat; try --polite");
            return Ok(());
        }
    }
    for philosopher in table {
        philosopher.join()??;
    }
    println!("{n} philosophers have eaten");
    Ok(())
}

/// Runs in a process of its own.
fn eat(first: Lock, second: Lock) -> procession::Result<()> {
    let _first = first.lock()?;
    thread::sleep(Duration::from_millis(200));
    let _second = second.lock()?;
    Ok(())
}
