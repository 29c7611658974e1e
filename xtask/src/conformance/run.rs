//! All runs with one interpreter.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::job::{Job, Side};
use super::known::KnownFailures;
use super::outcome::ClassResult;
use super::summary::Summary;
use super::table::{self, Row};
use super::verdict::{Kind, Pair};
use super::{Method, crew, overlay, scripts};
use crate::child::Failure;
use crate::python::environment::Environment;
use crate::python::interpreter::Interpreter;

/// The choice of what to run.
pub struct Request<'a> {
    pub methods: &'a [Method],
    /// Ends of the names of classes; all classes if empty.
    pub classes: &'a [String],
    /// Number of classes that run at a time.
    pub hands: usize,
    pub fresh: bool,
    pub retry: bool,
    pub deadline: Instant,
}

type Results = BTreeMap<(String, String), ClassResult>;

/// Runs the tests with an interpreter, and prints the tables.
///
/// # Errors
///
/// The tests cannot be run.
pub fn run(interpreter: &Interpreter, request: &Request<'_>) -> Result<Summary, Failure> {
    println!("\nPython {interpreter} ({})", interpreter.executable.display());
    let known = KnownFailures::read()?;
    let left = request.deadline.saturating_duration_since(Instant::now());
    let environment = Environment::of(interpreter, left)?;
    environment.install_wheel(left)?;
    let program = overlay::make(interpreter, &environment)?;
    scripts::copy()?;

    let mut summary = Summary::new(interpreter.to_string(), interpreter.minor());
    for method in request.methods {
        match scripts::probe(&program, method.name()) {
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => summary.complaints.push(format!(
                "{}: processes that were started to look around: {failure}",
                method.name()
            )),
            Ok(()) => {}
        }
    }

    let (mut ours, mut stdlib) = (Results::new(), Results::new());
    let mut jobs = Vec::new();
    for job in plan(interpreter, &program, request)? {
        let earlier = (job.side == Side::Stdlib && !request.fresh).then(|| job.earlier());
        match earlier.flatten() {
            Some(result) => drop(stdlib.insert((job.method, job.class), result)),
            None => jobs.push(job),
        }
    }
    let mut again = Vec::new();
    for (job, result) in crew::run(jobs, request.hands, request.deadline)? {
        let name = (job.method.clone(), job.class.clone());
        if job.side == Side::Ours {
            ours.insert(name, result);
            again.push(job);
        } else {
            stdlib.insert(name, result);
        }
    }

    let mut pairs = pair(ours, stdlib);
    if request.retry {
        retry(&mut pairs, again, &known, interpreter, request.deadline)?;
    }
    report(&pairs, &known, interpreter, &mut summary);
    Ok(summary)
}

/// Returns the jobs for both sides.
fn plan(interpreter: &Interpreter, overlay: &Path, request: &Request<'_>) -> Result<Vec<Job>, Failure> {
    let mut classes = scripts::classes(&interpreter.executable)?;
    classes.retain(|class, tests| {
        let wanted = request.classes.is_empty() || request.classes.iter().any(|end| class.ends_with(end));
        wanted && !tests.is_empty()
    });
    if classes.is_empty() {
        return Err(Failure::Other("the suite has no such class".to_owned()));
    }
    let mut jobs = Vec::new();
    for method in request.methods {
        for (class, tests) in &classes {
            for (side, program) in [(Side::Stdlib, &*interpreter.executable), (Side::Ours, overlay)] {
                jobs.push(Job {
                    side,
                    program: program.to_owned(),
                    folder: interpreter.folder().join("results"),
                    method: method.name().to_owned(),
                    class: class.clone(),
                    tests: tests.clone(),
                });
            }
        }
    }
    Ok(jobs)
}

fn pair(ours: Results, mut stdlib: Results) -> Vec<Pair> {
    ours.into_iter()
        .filter_map(|((method, class), ours)| {
            let name = (method, class);
            let stdlib = stdlib.remove(&name)?;
            let (method, class) = name;
            Some(Pair {
                method,
                class,
                ours,
                stdlib,
                again: None,
            })
        })
        .collect()
}

/// Runs the classes with new failures once more.
fn retry(
    pairs: &mut [Pair],
    mut jobs: Vec<Job>,
    known: &KnownFailures,
    interpreter: &Interpreter,
    deadline: Instant,
) -> Result<(), Failure> {
    jobs.retain(|job| {
        pairs.iter().any(|pair| {
            let (remarks, _) = pair.judge(known, interpreter.minor());
            let same = pair.method == job.method && pair.class == job.class;
            same && remarks.iter().any(|remark| remark.kind == Kind::New)
        })
    });
    if jobs.is_empty() {
        return Ok(());
    }
    println!("trying {} classes again", jobs.len());
    for job in &jobs {
        fs::rename(job.output(), job.output().with_extension("first.log"))?;
    }
    for (job, result) in crew::run(jobs, 1, deadline)? {
        let same = |pair: &&mut Pair| pair.method == job.method && pair.class == job.class;
        if let Some(pair) = pairs.iter_mut().find(same) {
            pair.again = Some(result);
        }
    }
    Ok(())
}

/// Prints the tables, and adds the other results to the summary.
fn report(pairs: &[Pair], known: &KnownFailures, interpreter: &Interpreter, summary: &mut Summary) {
    let mut rows = BTreeMap::<&str, Vec<Row>>::new();
    for pair in pairs {
        let (remarks, count) = pair.judge(known, interpreter.minor());
        summary.count += count;
        summary.stubs += pair.ours.stubs;
        summary.remarks.extend(remarks);
        summary.complaints.extend(pair.complaint());
        rows.entry(&pair.method).or_default().push(Row {
            class: pair.class.clone(),
            ours: pair.ours.count(),
            stdlib: pair.stdlib.count(),
        });
    }
    for (method, rows) in rows {
        table::print(&format!("Python {interpreter}, {method}"), &rows);
    }
    summary.outputs = interpreter.folder().join("results").join(Side::Ours.folder());
}
