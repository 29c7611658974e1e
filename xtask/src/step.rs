//! One step of a chore.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{self, Failure};

/// The action of a step.
pub enum Work {
    /// Runs a command; its output goes where ours goes.
    Run(Command),
    /// Calls a function with its time limit.
    Call(fn(Duration) -> Result<Outcome, Failure>),
}

/// A step: its name, its purpose, and its action.
pub struct Step {
    pub name: &'static str,
    pub about: &'static str,
    /// The cargo subcommand without which the step is skipped.
    pub needs: Option<&'static str>,
    /// Whether it belongs only to the long form.
    pub long: bool,
    pub work: Work,
}

/// The outcome of a step.
pub enum Outcome {
    Passed,
    /// Skipped, because this is missing on the machine.
    Skipped(String),
    Failed(Failure),
}

/// A step that has ended.
pub struct Done {
    pub name: &'static str,
    pub outcome: Outcome,
    pub time: Duration,
}

impl Step {
    /// Returns a step that runs a command.
    pub fn new(name: &'static str, about: &'static str, command: Command) -> Self {
        Self {
            name,
            about,
            needs: None,
            long: false,
            work: Work::Run(command),
        }
    }

    /// Returns a step that calls a function.
    pub fn call(
        name: &'static str,
        about: &'static str,
        check: fn(Duration) -> Result<Outcome, Failure>,
    ) -> Self {
        Self {
            name,
            about,
            needs: None,
            long: false,
            work: Work::Call(check),
        }
    }

    /// Returns the same step, skipped if a cargo subcommand is not installed.
    pub fn needs(mut self, subcommand: &'static str) -> Self {
        self.needs = Some(subcommand);
        self
    }

    /// Returns the same step, which runs only with `--long` or by its name.
    pub fn long(mut self) -> Self {
        self.long = true;
        self
    }

    /// Runs the step, for `limit` at most.
    pub fn run(self, limit: Duration) -> Done {
        let start = Instant::now();
        let outcome = if self.needs.is_some_and(|subcommand| !child::has_cargo(subcommand)) {
            Outcome::Skipped("not installed".to_owned())
        } else {
            let result = match self.work {
                Work::Run(mut command) => child::run(&mut command, limit).map(|()| Outcome::Passed),
                Work::Call(check) => check(limit),
            };
            result.unwrap_or_else(Outcome::Failed)
        };
        Done {
            name: self.name,
            outcome,
            time: start.elapsed(),
        }
    }
}
