//! Questions and answers over a pipe, with a helper process that a question may kill.
//!
//! The helper is a process that computes square roots. It dies when it is asked for the root of a negative number. The
//! main process then receives the end of the pipe instead of waiting for ever, prints that, and starts another helper.

use std::process::ExitCode;

use clap::Parser;
use procession::{Connection, Error, Process, pipe};

/// Square roots from a helper process, which is replaced when a question kills it.
#[derive(Parser)]
struct Cli {
    /// What to take the square roots of
    #[arg(default_values_t = [16, 2, -1, 81], allow_negative_numbers = true, value_name = "N")]
    numbers: Vec<i64>,
}

/// This side sends numbers and receives their roots.
type Questions = Connection<i64, f64>;
/// The helper's side, which receives numbers and sends their roots.
type Answers = Connection<f64, i64>;

#[procession::main]
fn main() -> ExitCode {
    match ask(&Cli::parse().numbers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(numbers: &[i64]) -> procession::Result<()> {
    let mut helper = None;
    for &number in numbers {
        let (questions, _) = match &helper {
            Some(helper) => helper,
            None => helper.insert(start()?),
        };
        questions.send(number)?;
        match questions.recv() {
            Ok(root) => println!("{number}: {root:.3}"),
            // The other end is gone, because the helper is dead.
            Err(Error::Disconnected) => {
                println!("{number}: the helper has died of it");
                helper = None;
            }
            Err(error) => return Err(error),
        }
    }
    if let Some((questions, process)) = helper {
        // Drops the last handle to this end: the helper's recv returns the end, and the helper returns.
        questions.close();
        println!("the last helper answered {} questions", process.join()?);
    }
    Ok(())
}

fn start() -> procession::Result<(Questions, Process<u32>)> {
    let (here, there) = pipe()?;
    let process = Process::builder()
        .name("helper")
        .daemon(true)
        .spawn(help, there)?;
    Ok((here, process))
}

/// Answers questions in a process of its own. Returns how many it has answered.
fn help(answers: Answers) -> u32 {
    let mut count = 0;
    while let Ok(number) = answers.recv() {
        if number < 0 {
            std::process::abort();
        }
        // If the main process is gone, the next recv ends the loop.
        let _ = answers.send((number as f64).sqrt());
        count += 1;
    }
    count
}
