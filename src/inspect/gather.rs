//! From the heap's content to a report.

use super::{Deadlock, Inspection, ObjectReport, Party, ProcessReport, User, WaitReport};
use crate::error::Result;
use crate::heap::Heap;
use crate::heap::layout::Off;
use crate::heap::object::{Facts, Waits};
use crate::heap::registration::REGISTRATION;
use crate::heap::survey::Resident;
use crate::os::clock;
use crate::sync::WAITER;
use std::collections::BTreeMap;
use std::time::Duration;

/// Kinds of objects that users do not make: records of waits, and registrations of selectors.
const OUR_OWN: [&str; 2] = [WAITER.name, REGISTRATION.name];

/// A thread of the program: the process's owner id, and gettid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thread {
    pub id: u32,
    pub number: u32,
}

/// A thread that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub who: Thread,
    pub waits: Waits,
    /// The number of the object.
    pub serial: u64,
}

/// An object, with the processes that refer to it.
pub(super) struct Thing {
    serial: u64,
    references: u64,
    kind: &'static str,
    facts: Facts,
    users: Vec<User>,
}

impl Thing {
    /// Returns the thread that holds the object, as far as it is known.
    pub(super) fn holder(&self) -> Option<Thread> {
        let Facts { holder, thread, .. } = self.facts;
        (holder != 0).then_some(Thread {
            id: holder,
            number: thread,
        })
    }
}

/// What was found in the heap.
pub(super) struct Gathered {
    residents: Vec<Resident>,
    pub things: BTreeMap<Off, Thing>,
    pub waits: Vec<Wait>,
    at: u64,
}

/// Reads everything that the program's processes refer to.
pub(super) fn gather(heap: &Heap) -> Result<Gathered> {
    let mut residents: Vec<Resident> = heap
        .survey()?
        .into_iter()
        .filter(|resident| heap.alive(resident.id))
        .collect();
    let mut things: BTreeMap<Off, Thing> = BTreeMap::new();
    let mut waiting = Vec::new();
    for resident in &mut residents {
        for reference in &mut resident.references {
            if let Some(waits) = reference.facts.waits {
                waiting.push((resident.id, waits));
            }
            let user = User {
                pid: resident.pid,
                has: reference.tally,
            };
            let thing = things.entry(reference.off).or_insert_with(|| Thing {
                serial: reference.serial,
                references: reference.references,
                kind: reference.kind,
                facts: core::mem::take(&mut reference.facts),
                users: Vec::new(),
            });
            // Another object may be in the same place by now.
            if thing.serial == reference.serial {
                thing.references += u64::from(reference.borrowed);
                thing.users.push(user);
            }
        }
    }
    let waits = waiting
        .into_iter()
        .filter_map(|(id, waits)| {
            let serial = things.get(&waits.object)?.serial;
            let who = Thread {
                id,
                number: waits.thread,
            };
            Some(Wait { who, waits, serial })
        })
        .collect();
    Ok(Gathered {
        residents,
        things,
        waits,
        at: clock::now(),
    })
}

impl Gathered {
    /// Converts to a report for the user.
    pub(super) fn report(&self, deadlocks: &[Vec<Wait>]) -> Inspection {
        let waits = |waits: &[Wait]| waits.iter().filter_map(|wait| self.wait(wait)).collect();
        Inspection {
            processes: self.residents.iter().map(|it| self.process(it)).collect(),
            objects: self
                .things
                .values()
                .filter(|thing| !OUR_OWN.contains(&thing.kind))
                .map(|thing| self.object(thing))
                .collect(),
            waits: waits(&self.waits),
            deadlocks: deadlocks
                .iter()
                .map(|cycle| Deadlock { waits: waits(cycle) })
                .collect(),
        }
    }

    fn resident(&self, id: u32) -> Option<&Resident> {
        self.residents.iter().find(|resident| resident.id == id)
    }

    fn party(&self, thread: Thread) -> Option<Party> {
        let resident = self.resident(thread.id)?;
        Some(Party {
            pid: resident.pid,
            process: resident.name.clone(),
            thread: thread.number,
        })
    }

    fn process(&self, resident: &Resident) -> ProcessReport {
        ProcessReport {
            pid: resident.pid,
            name: resident.name.clone(),
            parent: self.resident(resident.parent).map_or(0, |parent| parent.pid),
            daemon: resident.daemon,
            holds: resident.references.len(),
        }
    }

    fn object(&self, thing: &Thing) -> ObjectReport {
        ObjectReport {
            number: thing.serial,
            kind: thing.kind,
            references: thing.references,
            holder: thing.holder().and_then(|holder| self.party(holder)),
            figures: thing.facts.figures.clone(),
            users: thing.users.clone(),
        }
    }

    fn wait(&self, wait: &Wait) -> Option<WaitReport> {
        Some(WaitReport {
            who: self.party(wait.who)?,
            object: wait.serial,
            kind: self.things.get(&wait.waits.object)?.kind,
            what: wait.waits.what,
            waited: Duration::from_nanos(self.at.saturating_sub(wait.waits.since)),
        })
    }
}
