//! A kitchen: cooks put buns into a steamer that holds three, and guests take them out.
//!
//! Cooks and guests are processes, and the steamer is a bounded queue. A cook waits while the steamer is full, a guest
//! while it is empty. When the last cook has finished, the kitchen shuts the steamer down: the guests eat what is left
//! and go home. No process needs to know how many guests there are.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use procession::{Process, Queue};

/// Number of buns that the steamer holds.
const STEAMER: usize = 3;

/// Cooks and guests share a steamer that holds three buns.
#[derive(Parser)]
struct Cli {
    /// Number of cooks
    #[arg(long, default_value_t = 2, value_name = "N")]
    cooks: u16,

    /// Number of guests
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    guests: u16,

    /// Number of buns that each cook makes
    #[arg(long, default_value_t = 5, value_name = "N")]
    buns: u32,

    /// Milliseconds that a guest takes to eat a bun
    #[arg(long, default_value_t = 20, value_name = "MS")]
    appetite: u64,
}

#[procession::main]
fn main() -> ExitCode {
    match open(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(cli: &Cli) -> procession::Result<()> {
    let steamer = Queue::bounded(STEAMER)?;
    // Daemons end with this process, so that an error here leaves none behind.
    let start_guest = |n| {
        let process = Process::builder().name(format!("guest {n}")).daemon(true);
        process.spawn(guest, (steamer.clone(), n, cli.appetite))
    };
    let start_cook = |n| {
        let process = Process::builder().name(format!("cook {n}")).daemon(true);
        process.spawn(cook, (steamer.clone(), n, cli.buns))
    };
    let guests = (1..=cli.guests)
        .map(start_guest)
        .collect::<procession::Result<Vec<_>>>()?;
    let cooks = (1..=cli.cooks)
        .map(start_cook)
        .collect::<procession::Result<Vec<_>>>()?;

    for cook in cooks {
        cook.join()??;
    }
    println!("the kitchen closes");
    steamer.shutdown();

    let mut eaten = 0;
    for (n, guest) in (1..).zip(guests) {
        let buns = guest.join()?;
        println!("guest {n} had {buns}");
        eaten += buns;
    }
    println!(
        "{eaten} buns eaten of {}",
        u64::from(cli.cooks) * u64::from(cli.buns)
    );
    Ok(())
}

/// Runs in a process of its own: makes buns, and waits while the steamer is full.
fn cook(steamer: Queue<String>, cook: u16, buns: u32) -> procession::Result<()> {
    for n in 1..=buns {
        steamer.put(format!("bun {n} of cook {cook}"))?;
        println!("cook {cook} made bun {n}");
    }
    Ok(())
}

/// Runs in a process of its own: eats until the steamer is shut down and empty, and returns the number of buns.
fn guest(steamer: Queue<String>, guest: u16, appetite: u64) -> u64 {
    let mut eaten = 0;
    for bun in steamer.iter() {
        println!("guest {guest} eats {bun}");
        thread::sleep(Duration::from_millis(appetite));
        eaten += 1;
    }
    eaten
}
