//! Runs jobs, several at a time.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::job::Job;
use super::outcome::ClassResult;
use super::progress::Progress;
use crate::child::Failure;

/// Runs all jobs, `hands` at a time, those that are likely to take long first. The results are in no order.
///
/// # Errors
///
/// A job cannot be run, the user asked to stop, or the time is up.
pub fn run(mut jobs: Vec<Job>, hands: usize, deadline: Instant) -> Result<Vec<(Job, ClassResult)>, Failure> {
    // Jobs that were never run come first.
    let guess = |job: &Job| job.last_seconds().unwrap_or(f64::INFINITY);
    jobs.sort_by_cached_key(|job| (guess(job) * -1e3) as i64);
    let progress = Progress::new(jobs.len());
    let jobs = Mutex::new(VecDeque::from(jobs));
    let next = || jobs.lock().ok()?.pop_front();
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..hands {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(job) = next() {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let result = if left.is_zero() {
                        Err(Failure::Other("the time is up".to_owned()))
                    } else {
                        job.run(left)
                    };
                    if sender.send((job, result)).is_err() {
                        break; // the others have failed
                    }
                }
            });
        }
        drop(sender);
        let mut done = Vec::new();
        for (job, result) in results {
            let result = result?;
            progress.step(&job, &result);
            done.push((job, result));
        }
        Ok(done)
    })
}
