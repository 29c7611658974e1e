//! Reports about the steps for the user. They go to standard output, among the output of the steps.

use std::process::ExitCode;
use std::time::Duration;

use crate::step::{Done, Outcome, Step, Work};

/// Says which step begins.
pub fn begin(number: usize, count: usize, step: &Step) {
    println!("\n==> [{number}/{count}] {}: {}", step.name, step.about);
    if let Work::Run(command) = &step.work {
        let arguments: Vec<_> = command
            .get_args()
            .map(|argument| argument.to_string_lossy())
            .collect();
        println!("    cargo {}", arguments.join(" "));
    }
}

/// Says how a step ended.
pub fn end(step: &Done) {
    println!(
        "<== {}: {} ({})",
        step.name,
        verdict(&step.outcome),
        seconds(step.time)
    );
}

/// Prints the table of all steps. Returns an exit code that says whether a step has failed.
pub fn summary(done: &[Done], count: usize) -> ExitCode {
    println!("\n{:<12} {:>9}  result", "step", "time");
    for step in done {
        println!(
            "{:<12} {:>9}  {}",
            step.name,
            seconds(step.time),
            verdict(&step.outcome)
        );
    }
    let failed = done
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::Failed(_)))
        .count();
    let total = seconds(done.iter().map(|step| step.time).sum());
    if failed > 0 {
        println!(
            "\n{failed} failed, {} not run, {total} in all",
            count - done.len()
        );
        return ExitCode::FAILURE;
    }
    println!("\nall is well, {total} in all");
    ExitCode::SUCCESS
}

fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed => "ok".to_owned(),
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
        Outcome::Failed(reason) => format!("FAILED: {reason}"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
