//! One ticket, and many buyers at once.
//!
//! The ticket office is a file of JSON. Each buyer is a process that reads how many tickets are left, takes a
//! moment to decide, and writes one ticket less. With a lock around that, one buyer gets the ticket. With
//! `--no-lock`, several buyers see the same ticket before the first of them has bought it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use procession::{Lock, Process};
use serde::{Deserialize, Serialize};

/// The time for which a buyer looks at a ticket before it buys the ticket.
const DECIDING: Duration = Duration::from_millis(100);

/// Many buyers want one ticket, and a lock lets only one of them get it.
#[derive(Parser)]
struct Cli {
    /// Number of buyers
    #[arg(long, default_value_t = 10, value_name = "N")]
    buyers: u16,

    /// Number of tickets
    #[arg(long, default_value_t = 1, value_name = "N")]
    tickets: u32,

    /// Buy without the lock, to see it go wrong
    #[arg(long)]
    no_lock: bool,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Office {
    tickets: u32,
}

#[procession::main]
fn main() -> ExitCode {
    match sell(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sell(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("office.json");
    write(&file, &Office { tickets: cli.tickets })?;

    let lock = if cli.no_lock { None } else { Some(Lock::new()?) };
    // Daemons end with this process, so that an error here leaves none behind.
    let start = |n| {
        let process = Process::builder().name(format!("buyer {n}")).daemon(true);
        process.spawn(buy, (file.clone(), lock.clone()))
    };
    let buyers = (1..=cli.buyers)
        .map(start)
        .collect::<procession::Result<Vec<_>>>()?;

    let mut sold = 0;
    for (n, buyer) in (1..).zip(buyers) {
        match buyer.join()? {
            Ok(true) => {
                println!("buyer {n} has a ticket");
                sold += 1;
            }
            Ok(false) => println!("buyer {n} came too late"),
            Err(reason) => println!("buyer {n} gave up: {reason}"),
        }
    }
    println!("{} for sale, {sold} sold", cli.tickets);
    if sold > cli.tickets {
        println!("that is what the lock is for");
    }
    Ok(())
}

/// Runs in a process of its own: buys a ticket if one is left, and returns whether it did.
fn buy(file: PathBuf, lock: Option<Lock>) -> Result<bool, String> {
    // Held to the end of this function. If a buyer dies with the lock, the next buyer gets an error instead of waiting
    // for ever.
    let _guard = match &lock {
        Some(lock) => Some(lock.lock().map_err(|error| error.to_string())?),
        None => None,
    };
    try_to_buy(&file).map_err(|error| error.to_string())
}

fn try_to_buy(file: &Path) -> Result<bool, Box<dyn Error>> {
    let office: Office = serde_json::from_slice(&fs::read(file)?)?;
    if office.tickets == 0 {
        return Ok(false);
    }
    thread::sleep(DECIDING);
    write(
        file,
        &Office {
            tickets: office.tickets - 1,
        },
    )?;
    Ok(true)
}

fn write(file: &Path, office: &Office) -> Result<(), Box<dyn Error>> {
    fs::write(file, serde_json::to_vec(office)?)?;
    Ok(())
}
