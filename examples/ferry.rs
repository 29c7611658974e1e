//! A ferry that leaves when it is full: a condition, its lock, and a value that the lock protects.
//!
//! Passengers are processes. Each goes aboard and waits until the ferry has left. The ferry leaves when it is full; the
//! last passenger notifies the others. A passenger who has waited too long goes ashore again. One passenger is killed
//! on the way aboard: the ferry still leaves.

use procession::{Condition, Lock, Process, Result, Value};
use std::time::Duration;

const SEATS: u32 = 4;

#[procession::main]
fn main() -> Result<()> {
    let lock = Lock::new()?;
    // Notified when the ferry leaves. Several conditions may share a lock.
    let left = Condition::with_lock(&lock)?;
    let aboard = Value::new(0u32)?;

    let victim = Process::spawn(travel, (left.clone(), aboard.clone(), "Unlucky".to_owned()))?;
    while left.waiting() < 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    victim.kill()?;
    victim.wait()?;
    // Frees the seat of the dead passenger. Its place in the wait queue is free already.
    aboard.update(|count| *count -= 1)?;

    let names = ["Ann", "Bo", "Cleo", "Dan"];
    let travellers = names
        .map(|name| Process::spawn(travel, (left.clone(), aboard.clone(), name.to_owned())))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for traveller in travellers {
        println!("{}", traveller.join()??);
    }
    println!("{} crossed, {} wait", aboard.get()?, left.waiting());
    Ok(())
}

/// Goes aboard, and waits for the ferry to leave.
fn travel(left: Condition, aboard: Value<u32>, name: String) -> Result<String> {
    let mut deck = left.lock()?;
    let seat = aboard.update(|count| {
        *count += 1;
        *count
    })?;
    if seat == SEATS {
        deck.notify_all();
        return Ok(format!("{name} was the last to come"));
    }
    deck.wait_for_timeout(|| aboard.get() == Ok(SEATS), Duration::from_secs(60))?;
    Ok(format!("{name} crossed on seat {seat}"))
}
