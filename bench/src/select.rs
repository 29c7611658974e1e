//! The cost of waiting for one of many queues. With a selector it must not depend on the number of queues.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use procession::{Key, Queue, Selector};

use crate::contest::{Contender, Effort, Figure, Group, at_most};
use crate::roundtrip::{PERCENTILES, converse_after};
use crate::team::Kind;
use crate::{Error, Result};

const FEW: &str = "procession Selector, 10 queues";
const MANY: &str = "procession Selector, 1000 queues";

/// Longer than any waiter spins before it sleeps.
const PAUSE: Duration = Duration::from_micros(150);

/// Returns the groups of this file.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            name: "wait over queues, one ready",
            figures: &[Figure { name: "", unit: "ns" }],
            references: &[FEW],
            contenders: contenders(ready),
        },
        Group {
            name: "wait over queues, asleep: round trip",
            figures: PERCENTILES,
            references: &[FEW],
            contenders: contenders(asleep),
        },
    ]
}

fn contenders(measure: fn(usize, Effort) -> Result<Vec<f64>>) -> Vec<Contender> {
    vec![
        Contender::new(FEW, move |effort| measure(10, effort)),
        Contender::new(MANY, move |effort| measure(1000, effort)).target(at_most(3.0, FEW)),
    ]
}

/// Queues, and a selector with all of them.
struct Members {
    selector: Selector,
    queues: HashMap<Key, Queue<u64>>,
}

impl Members {
    fn new(queues: &[Queue<u64>]) -> Result<Self> {
        let mut selector = Selector::new()?;
        let queues = queues
            .iter()
            .map(|queue| Ok((selector.add(queue)?, queue.clone())))
            .collect::<Result<_>>()?;
        Ok(Self { selector, queues })
    }

    /// Waits, and gets the message of the only queue that is ready.
    fn take(&mut self) -> Result<u64> {
        match self.selector.wait()?[..] {
            [key] => Ok(self.queues[&key].try_get()?),
            ref ready => Err(format!("{} queues are ready instead of one", ready.len()).into()),
        }
    }
}

fn queues(count: usize) -> Result<Vec<Queue<u64>>> {
    (0..count).map(|_| Ok(Queue::unbounded()?)).collect()
}

/// Returns the queue for message `number`. All queues are used in turn, but no queue directly after its neighbour.
fn turn(queues: &[Queue<u64>], number: u64) -> &Queue<u64> {
    &queues[(number * 7919) as usize % queues.len()]
}

/// Measures one thread that never sleeps: it puts into one queue, waits, and gets from that queue.
fn ready(count: usize, effort: Effort) -> Result<Vec<f64>> {
    let times = effort.of(500_000);
    let queues = queues(count)?;
    let mut members = Members::new(&queues)?;
    let mut pass = |times| {
        let begin = Instant::now();
        for number in 0..times {
            turn(&queues, number).put(number)?;
            if members.take()? != number {
                return Err(Error::from("another message came"));
            }
        }
        Ok(begin.elapsed())
    };
    // The first check of each queue belongs to the cost of adding it.
    pass(times / 20)?;
    Ok(vec![pass(times)?.as_nanos() as f64 / times as f64])
}

/// Measures two processes: one puts a question into one of the queues, the other sleeps until any queue has a question.
fn asleep(count: usize, effort: Effort) -> Result<Vec<f64>> {
    let (there, back) = (queues(count)?, Queue::<u64>::unbounded()?);
    let members = RefCell::new(Members::new(&there)?);
    let answers = back.clone();
    converse_after(
        PAUSE,
        Kind::Processes,
        effort.of(10_000),
        move |question| {
            turn(&there, question).put(question)?;
            Ok(back.get()?)
        },
        move || Ok(answers.put(members.borrow_mut().take()?)?),
    )
}
