//! A car park with few places: a semaphore that gets back the permits of killed processes.
//!
//! Each car is a process that parks, stays for a while, and leaves. One of them is killed while it parks. Its permit
//! comes back, and the car that gets the permit is told that the last owner died.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use procession::{Process, Queue, Semaphore};

/// More cars come than there are places.
#[derive(Parser)]
struct Cli {
    /// Number of cars
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    cars: u16,

    /// Number of places
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    places: u16,
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
    let places = Semaphore::bounded(usize::from(cli.places))?;
    let parked = Queue::unbounded()?;
    // Daemons end with this process, so that an error here leaves none behind.
    let mut cars = (0..cli.cars)
        .map(|number| {
            let car = Process::builder().name(format!("car {number}")).daemon(true);
            car.spawn(park, (number, places.clone(), parked.clone()))
        })
        .collect::<procession::Result<Vec<_>>>()?;

    let unlucky = parked.get()?;
    cars[usize::from(unlucky)].kill()?;
    println!("car {unlucky} is towed away");
    let towed = cars.remove(usize::from(unlucky));
    println!(
        "  {}",
        towed
            .join()
            .map_or_else(|end| end.to_string(), |_| "it had just left".to_owned())
    );

    for car in cars {
        car.join()??;
    }
    println!("{} of {} places are free", places.value(), cli.places);
    Ok(())
}

/// Runs in a process of its own: parks for a while.
fn park(number: u16, places: Semaphore, parked: Queue<u16>) -> procession::Result<()> {
    let place = places.acquire()?;
    let note = if place.owner_died() {
        ", where somebody left in a hurry"
    } else {
        ""
    };
    println!("car {number} has a place{note}");
    parked.put(number)?;
    thread::sleep(Duration::from_millis(200));
    Ok(())
}
