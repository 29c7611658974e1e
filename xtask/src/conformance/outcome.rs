//! The outcomes of tests.

use serde::{Deserialize, Serialize};

/// The outcome of one test.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Passed,
    Failed,
    Error,
    Skipped,
    ExpectedFailure,
    UnexpectedSuccess,
    /// The process that ran it ended before it.
    Crashed,
    /// The process that ran it was killed for taking too long.
    Timeout,
}

impl Outcome {
    /// Returns whether the outcome is one that the test's authors want.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::ExpectedFailure)
    }

    /// Returns the outcome's name in a report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::ExpectedFailure => "expected failure",
            Self::UnexpectedSuccess => "unexpected success",
            Self::Crashed => "crashed",
            Self::Timeout => "timeout",
        }
    }
}

/// One test and its outcome.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Test {
    /// Its name in its class.
    #[serde(rename = "test")]
    pub name: String,
    pub outcome: Outcome,
    /// One line.
    pub reason: String,
}

/// The outcomes of the tests of one class, with one start method.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ClassResult {
    pub tests: Vec<Test>,
    /// Number of processes that have loaded the suite: the first one and its children.
    pub loaded: usize,
    /// Number of fresh interpreters that found the stub in `multiprocessing`'s place.
    pub stubs: usize,
    /// Errors of the run itself.
    pub complaint: Option<String>,
    pub seconds: f64,
}

impl ClassResult {
    /// Returns whether the result is clean, so that it need not be computed again.
    pub fn is_clean(&self) -> bool {
        self.complaint.is_none()
            && self
                .tests
                .iter()
                .all(|test| test.outcome.is_good() || test.outcome == Outcome::Skipped)
    }

    /// Returns the outcome of the test of this name.
    pub fn find(&self, name: &str) -> Option<&Test> {
        self.tests.iter().find(|test| test.name == name)
    }

    /// Returns the numbers of tests that passed, failed, and were skipped.
    pub fn count(&self) -> Count {
        let mut count = Count::default();
        for test in &self.tests {
            match test.outcome {
                outcome if outcome.is_good() => count.passed += 1,
                Outcome::Skipped => count.skipped += 1,
                _ => count.failed += 1,
            }
        }
        count
    }
}

/// Numbers of tests.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Count {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}
