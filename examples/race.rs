//! A race: nobody runs before the shot, and everybody hears it. An event between processes.

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
    // Whoever waits when it is set goes on, also if it is cleared at once.
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
    // Ready is who waits for the shot.
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
