//! The verdict from the two results of a test.

use super::known::KnownFailures;
use super::outcome::{ClassResult, Count, Outcome};

/// A remark about a test.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// It passes on the standard library, fails here, and is not on the list of known failures.
    New,
    /// It is on the list of known failures, and passes.
    NowPasses,
    /// It is on the list of known failures, and fails.
    Known,
    /// It fails on the standard library too, on this machine.
    Both,
    /// It failed, and passed when it ran again.
    Unsteady,
}

/// A test with a remark.
pub struct Remark {
    pub kind: Kind,
    pub method: String,
    pub class: String,
    pub test: String,
    pub reason: String,
}

/// A class with one start method, here and on the standard library.
pub struct Pair {
    pub method: String,
    pub class: String,
    pub ours: ClassResult,
    pub stdlib: ClassResult,
    /// The results of the class when it ran again.
    pub again: Option<ClassResult>,
}

impl Pair {
    /// Returns the remarks about the tests, and the numbers of tests that passed, failed and were skipped here. A test
    /// that fails on the standard library too is not counted.
    pub fn judge(&self, known: &KnownFailures, python: (u32, u32)) -> (Vec<Remark>, Count) {
        let mut remarks = Vec::new();
        let mut count = Count::default();
        for test in &self.ours.tests {
            let name = format!("{}.{}", self.class, test.name);
            let known = known.find(&name, &self.method, python);
            let theirs = self.stdlib.find(&test.name).map(|test| test.outcome);
            let mut remark = |kind, reason: &str| {
                remarks.push(Remark {
                    kind,
                    method: self.method.clone(),
                    class: self.class.clone(),
                    test: test.name.clone(),
                    reason: reason.to_owned(),
                });
            };
            let reason = format!("{}: {}", test.outcome.word(), test.reason);
            let good_now = self
                .again
                .as_ref()
                .is_some_and(|again| again.find(&test.name).is_none_or(|test| test.outcome.is_good()));
            match (test.outcome, theirs, known) {
                (outcome, _, Some(known)) if outcome.is_good() && !known.sometimes => {
                    count.passed += 1;
                    remark(Kind::NowPasses, &known.reason);
                }
                (outcome, _, _) if outcome.is_good() => count.passed += 1,
                // Both leave it out, or it exists only here: no remark is needed.
                (Outcome::Skipped, None | Some(Outcome::Skipped), _) => count.skipped += 1,
                (Outcome::Skipped, Some(theirs), _) if !theirs.is_good() => count.skipped += 1,
                (_, Some(theirs), _) if !theirs.is_good() && theirs != Outcome::Skipped => {
                    remark(Kind::Both, &reason);
                }
                (_, _, Some(known)) => {
                    count.failed += 1;
                    remark(Kind::Known, &known.reason);
                }
                _ if good_now => {
                    count.passed += 1;
                    remark(Kind::Unsteady, &reason);
                }
                _ => {
                    count.failed += 1;
                    remark(Kind::New, &reason);
                }
            }
        }
        (remarks, count)
    }

    /// Returns the errors of the run itself: whether its tests have tested anything.
    pub fn complaint(&self) -> Option<String> {
        let of = |complaint: &String| format!("{} {}: {complaint}", self.method, self.class);
        if let Some(complaint) = self.ours.complaint.as_ref().or(self.stdlib.complaint.as_ref()) {
            return Some(of(complaint));
        }
        if self.ours.loaded > 0 && self.ours.stubs == 0 {
            return Some(of(&"no interpreter came by the stub".to_owned()));
        }
        let alone = self.stdlib.loaded > 1 && self.ours.loaded <= 1;
        let all_pass = self.ours.count().failed == 0;
        (alone && all_pass).then(|| {
            of(&format!(
                "all passed, but of {} processes with the suite on the standard library there was one here",
                self.stdlib.loaded
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Test;
    use super::*;

    fn result(outcome: Outcome) -> ClassResult {
        let name = "test_b".to_owned();
        let reason = "so".to_owned();
        ClassResult {
            tests: vec![Test {
                name,
                outcome,
                reason,
            }],
            loaded: 1,
            stubs: 1,
            ..ClassResult::default()
        }
    }

    fn kinds(ours: Outcome, stdlib: Outcome, known: &str) -> Vec<Kind> {
        let pair = Pair {
            method: "fork".to_owned(),
            class: "A".to_owned(),
            ours: result(ours),
            stdlib: result(stdlib),
            again: None,
        };
        let known = toml::from_str(known).expect("the list can be read");
        let (remarks, _) = pair.judge(&known, (3, 13));
        remarks.iter().map(|remark| remark.kind).collect()
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        use Outcome::{Crashed, Failed, Passed, Skipped, Timeout};
        let known = "[[known]]\ntest = \"A.test_b\"\nreason = \"so\"\n";
        assert_eq!(kinds(Passed, Passed, ""), []);
        assert_eq!(kinds(Passed, Failed, ""), []);
        assert_eq!(kinds(Skipped, Skipped, ""), []);
        assert_eq!(kinds(Failed, Passed, ""), [Kind::New]);
        assert_eq!(kinds(Skipped, Passed, ""), [Kind::New]);
        assert_eq!(kinds(Crashed, Timeout, ""), [Kind::Both]);
        assert_eq!(kinds(Failed, Passed, known), [Kind::Known]);
        assert_eq!(kinds(Passed, Passed, known), [Kind::NowPasses]);
    }

    #[test]
    fn passing_without_a_child_is_noticed() {
        let mut pair = Pair {
            method: "spawn".to_owned(),
            class: "A".to_owned(),
            ours: result(Outcome::Passed),
            stdlib: result(Outcome::Passed),
            again: None,
        };
        assert_eq!(pair.complaint(), None);
        pair.stdlib.loaded = 3;
        assert!(pair.complaint().is_some());
    }
}
