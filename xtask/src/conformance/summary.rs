//! The summary at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::outcome::Count;
use super::verdict::{Kind, Remark};

/// The results with one interpreter.
pub struct Summary {
    python: String,
    minor: (u32, u32),
    pub count: Count,
    pub remarks: Vec<Remark>,
    /// Errors of the run itself.
    pub complaints: Vec<String>,
    /// Number of fresh interpreters that found the stub in `multiprocessing`'s place.
    pub stubs: usize,
    /// The folder of the tests' output, by method and class.
    pub outputs: PathBuf,
}

impl Summary {
    /// Makes an empty summary for this version.
    pub fn new(python: String, minor: (u32, u32)) -> Self {
        Self {
            python,
            minor,
            count: Count::default(),
            remarks: Vec::new(),
            complaints: Vec::new(),
            stubs: 0,
            outputs: PathBuf::new(),
        }
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Remark> {
        self.remarks.iter().filter(move |remark| remark.kind == kind)
    }
}

const KINDS: [(Kind, &str, &str); 5] = [
    (
        Kind::Both,
        "fails too",
        "fail on the standard library too, and do not count",
    ),
    (Kind::Known, "known", "are known to fail"),
    (Kind::Unsteady, "UNSTEADY", "failed, and passed when tried again"),
    (
        Kind::NowPasses,
        "NOW PASSES",
        "pass, but are listed as known failures",
    ),
    (
        Kind::New,
        "NEW FAILURE",
        "pass on the standard library and not here",
    ),
];

/// Prints the summary; its last line has the numbers of tests. Returns the reason why the run failed, if it did.
pub fn print(all: &[Summary]) -> Option<String> {
    for summary in all {
        println!(
            "\nPython {}: {} interpreters found the stub in the place of multiprocessing",
            summary.python, summary.stubs
        );
        for (kind, label, meaning) in KINDS {
            let count = summary.of_kind(kind).count();
            if count == 0 {
                continue;
            }
            println!("\nPython {}: {count} {meaning}", summary.python);
            for remark in summary.of_kind(kind) {
                println!(
                    "  {label}: {} {}.{}: {}",
                    remark.method, remark.class, remark.test, remark.reason
                );
            }
            if matches!(kind, Kind::New | Kind::Unsteady) {
                println!(
                    "  what they print: {}/METHOD/CLASS.log",
                    summary.outputs.display()
                );
            }
        }
        for complaint in &summary.complaints {
            println!("\nPython {}: IN DOUBT: {complaint}", summary.python);
        }
    }
    let mut total = Count::default();
    for summary in all {
        total += summary.count;
    }
    let verdict = verdict(all);
    if let Some(reason) = &verdict {
        println!("\nnot as it should be: {reason}");
    }
    println!(
        "\n{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    verdict
}

fn verdict(all: &[Summary]) -> Option<String> {
    let count = |kind| {
        all.iter()
            .map(|summary| summary.of_kind(kind).count())
            .sum::<usize>()
    };
    let numbers = [
        (count(Kind::New), "new failures"),
        (count(Kind::NowPasses), "known failures that pass"),
        (
            all.iter().map(|summary| summary.complaints.len()).sum(),
            "doubts about the run",
        ),
    ];
    let reasons: Vec<_> = numbers
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// Prints the entries to add to the list of known failures for the new failures.
pub fn suggest(summary: &Summary) {
    let mut entries = BTreeMap::<String, (Vec<&str>, &str)>::new();
    for remark in summary.of_kind(Kind::New) {
        let (methods, reason) = entries
            .entry(format!("{}.{}", remark.class, remark.test))
            .or_default();
        methods.push(&remark.method);
        *reason = &remark.reason;
    }
    println!();
    for (test, (methods, reason)) in entries {
        println!("[[known]]\ntest = {test:?}\nmethods = {methods:?}");
        println!("pythons = [\"{}.{}\"]", summary.minor.0, summary.minor.1);
        println!("reason = {reason:?}\n");
    }
}
