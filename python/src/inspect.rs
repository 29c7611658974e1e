//! What the program's processes do, as Python tuples.

use crate::errors::OrRaise;
use crate::wait;
use procession::bindings;
use procession::{Inspection, ObjectReport, Party, WaitReport};
use pyo3::prelude::*;

type Process = (u32, String, u32, bool, usize);
type Someone = (u32, String, u32);
type Object = (
    u64,
    &'static str,
    u64,
    Option<Someone>,
    Vec<(&'static str, u64)>,
    Vec<(u32, i64)>,
);
type Wait = (Someone, u64, &'static str, &'static str, f64);
type Report = (Vec<Process>, Vec<Object>, Vec<Wait>, Vec<Vec<Wait>>, String);

fn someone(party: &Party) -> Someone {
    (party.pid, party.process.clone(), party.thread)
}

fn object(it: &ObjectReport) -> Object {
    (
        it.number,
        it.kind,
        it.references,
        it.holder.as_ref().map(someone),
        it.figures.clone(),
        it.users.iter().map(|user| (user.pid, user.has)).collect(),
    )
}

fn wait(it: &WaitReport) -> Wait {
    (
        someone(&it.who),
        it.object,
        it.kind,
        it.what,
        it.waited.as_secs_f64(),
    )
}

fn report(seen: &Inspection) -> Report {
    (
        seen.processes
            .iter()
            .map(|it| (it.pid, it.name.clone(), it.parent, it.daemon, it.holds))
            .collect(),
        seen.objects.iter().map(object).collect(),
        seen.waits.iter().map(wait).collect(),
        seen.deadlocks
            .iter()
            .map(|it| it.waits.iter().map(wait).collect())
            .collect(),
        seen.to_string(),
    )
}

/// Inspect the program. Return its processes, objects, waits and deadlocks, and all of that as text.
#[pyfunction]
pub fn inspect(py: Python<'_>) -> PyResult<Report> {
    let seen = py.detach(procession::inspect).or_raise(py)?;
    Ok(report(&seen))
}

/// Give this process the name that other processes see.
#[pyfunction]
pub fn rename(py: Python<'_>, name: &str) -> PyResult<()> {
    wait::briefly(py, || bindings::rename(name)).or_raise(py)
}
