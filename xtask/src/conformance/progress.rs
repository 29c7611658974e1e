//! Shows the progress of a run: a bar on a terminal, and lines elsewhere.

use std::cell::Cell;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use super::job::Job;
use super::outcome::ClassResult;

/// The progress of a run.
pub struct Progress {
    bar: Option<ProgressBar>,
    done: Cell<usize>,
    count: usize,
}

impl Progress {
    /// Makes the progress of a run that begins.
    pub fn new(count: usize) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(count as u64);
            if let Ok(style) = ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            bar
        });
        let done = Cell::new(0);
        Self { bar, done, count }
    }

    /// Counts one more job as done.
    pub fn step(&self, job: &Job, result: &ClassResult) {
        self.done.set(self.done.get() + 1);
        let name = format!("{} {} {}", job.side.folder(), job.method, job.class);
        if let Some(bar) = &self.bar {
            bar.set_message(name);
            bar.inc(1);
        } else {
            let count = result.count();
            println!(
                "[{}/{}] {name}: {} passed, {} failed, {} skipped ({:.1} s)",
                self.done.get(),
                self.count,
                count.passed,
                count.failed,
                count.skipped,
                result.seconds
            );
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
