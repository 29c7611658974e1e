//! The results that the process of a class has written, and their evaluation.

use serde::Deserialize;

use super::outcome::{ClassResult, Outcome, Test};
use crate::child::Failure;

/// A line of the results file.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Begin { module: String, tests: Vec<String> },
    Start { test: String },
    Test(Test),
    End,
}

/// A line of the log that every process which loads the suite or the stub writes to.
#[derive(Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Fact {
    Stub {},
    Suite { module: String },
}

/// Computes the outcomes of the tests of a class. `planned` are the tests that should have run, `lines` and `log` are
/// what the process has written, `end` is how it ended, and `module` is what `multiprocessing` should have been.
pub fn conclude(
    planned: &[String],
    lines: &str,
    log: &str,
    end: Result<(), Failure>,
    module: &str,
) -> ClassResult {
    let mut result = ClassResult::default();
    let mut planned = planned.to_vec();
    let mut running = None;
    let mut ended = false;
    for event in parse(lines) {
        match event {
            Event::Begin { module: seen, tests } => {
                planned = tests;
                complain(&mut result, module, &seen);
            }
            Event::Start { test } => running = Some(test),
            Event::Test(test) => {
                running = None;
                result.tests.push(test);
            }
            Event::End => ended = true,
        }
    }
    for fact in parse(log) {
        match fact {
            Fact::Stub {} => result.stubs += 1,
            Fact::Suite { module: seen } => {
                result.loaded += 1;
                complain(&mut result, module, &seen);
            }
        }
    }
    if !ended || end.is_err() {
        early_end(&mut result, planned, running, end);
    }
    result
}

/// Adds the consequences of an irregular end: the tests that could not report, or else the end itself.
fn early_end(
    result: &mut ClassResult,
    planned: Vec<String>,
    running: Option<String>,
    end: Result<(), Failure>,
) {
    let outcome = match end {
        Err(Failure::Overdue(_)) => Outcome::Timeout,
        _ => Outcome::Crashed,
    };
    let how = match end {
        Ok(()) => "the process ended early".to_owned(),
        Err(failure) => failure.to_string(),
    };
    let mut missing: Vec<_> = planned
        .into_iter()
        .filter(|name| result.find(name).is_none())
        .collect();
    let when = match running {
        Some(test) => format!("while {test} ran"),
        None => "between tests".to_owned(),
    };
    let mut reason = format!("{how}, {when}");
    if missing.is_empty() {
        missing.push("(exit)".to_owned());
        reason = format!("{how}, after the last test");
    }
    for name in missing {
        let reason = reason.clone();
        result.tests.push(Test {
            name,
            outcome,
            reason,
        });
    }
}

fn complain(result: &mut ClassResult, expected: &str, seen: &str) {
    if seen != expected {
        result.complaint = Some(format!(
            "a process had {seen} and not {expected} as multiprocessing"
        ));
    }
}

/// Returns the lines that can be parsed. A line that was cut off by a kill is left out.
fn parse<'a, T: Deserialize<'a>>(lines: &'a str) -> impl Iterator<Item = T> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LINES: &str = r#"{"event": "begin", "pid": 1, "module": "procession", "tests": ["a", "b", "c"]}
{"event": "start", "test": "a"}
{"event": "test", "test": "a", "outcome": "passed", "reason": ""}
{"event": "start", "test": "b"}
{"event": "te"#;

    #[test]
    fn what_did_not_report_has_crashed_or_hung() {
        let overdue = Err(Failure::Overdue(Duration::from_secs(9)));
        for (end, outcome) in [(Ok(()), Outcome::Crashed), (overdue, Outcome::Timeout)] {
            let result = conclude(&[], LINES, "", end, "procession");
            assert_eq!(result.find("a").map(|test| test.outcome), Some(Outcome::Passed));
            assert_eq!(result.find("c").map(|test| test.outcome), Some(outcome));
            assert!(result.tests[1].reason.ends_with("while b ran"));
            assert_eq!(result.complaint, None);
        }
    }

    #[test]
    fn an_end_that_is_none_is_a_failure_of_its_own() {
        let (begin, all) = LINES.split_once('\n').unwrap_or_default();
        let begin = begin.replace(r#", "b", "c""#, "");
        let lines = format!("{begin}\n{}", all.lines().nth(1).unwrap_or_default());
        let result = conclude(&[], &lines, "", Ok(()), "procession");
        assert_eq!(
            result.find("(exit)").map(|test| test.outcome),
            Some(Outcome::Crashed)
        );
        let lines = lines + "\n{\"event\": \"end\"}";
        let result = conclude(&[], &lines, "", Ok(()), "procession");
        assert_eq!(result.count().failed, 0);
        let overdue = Err(Failure::Overdue(Duration::from_secs(9)));
        let result = conclude(&[], &lines, "", overdue, "procession");
        assert_eq!(
            result.find("(exit)").map(|test| test.outcome),
            Some(Outcome::Timeout)
        );
    }

    #[test]
    fn nothing_written_means_that_all_have_crashed() {
        let result = conclude(&["a".to_owned(), "b".to_owned()], "", "", Ok(()), "procession");
        assert_eq!(result.count().failed, 2);
    }

    #[test]
    fn the_wrong_module_is_noticed() {
        let log = r#"{"pid": 2, "what": "suite", "module": "multiprocessing"}"#;
        let result = conclude(&[], LINES, log, Ok(()), "procession");
        assert!(result.complaint.is_some());
        assert_eq!(result.loaded, 1);
    }
}
