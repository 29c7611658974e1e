//! A race: no runner starts before the shot, and all of them hear it. It is an event between processes.

use procession::{Event, Process, Queue, Result};
use std::time::{Duration, Instant};

const RUNNERS: u32 = 4;

#[procession::main]
fn main() -> Result<()> {
    let (shot, ready, finish) = (Event::new()?, Queue::unbounded()?, Queue::unbounded()?);
    let start = |number| Process::spawn(run, (number, shot.clone(), ready.clone(), finish.clone()));
    let runners = (1..=RUNNERS).map(start).collect::<Result<Vec<_>>>()?;
    for _ in 0..RUNNERS {
        ready.get()?;
    }
    let begun = Instant::now();
    shot.set();
    // All that wait when the event is set go on, even if it is cleared at once.
    shot.clear();
    for place in 1..=RUNNERS {
        let number: u32 = finish.get()?;
        println!("{place}. number {number} after {:?}", begun.elapsed());
    }
    for runner in runners {
        runner.join()??;
    }
    Ok(())
}

fn run(number: u32, shot: Event, ready: Queue<()>, finish: Queue<u32>) -> Result<()> {
    let waiting = std::thread::spawn({
        let shot = shot.clone();
        move || shot.wait_timeout(Duration::from_secs(60))
    });
    // A runner is ready when it waits for the shot.
    let waits = || {
        let seen = procession::inspect()?;
        let me = std::process::id();
        Ok::<_, procession::Error>(
            seen.waits
                .iter()
                .any(|wait| wait.who.pid == me && wait.what == "event"),
        )
    };
    while !waits()? {
        std::thread::yield_now();
    }
    ready.put(())?;
    waiting.join().expect("it only waits")?;
    finish.put(number)?;
    Ok(())
}
