//! Small messages per second through a queue.

use std::time::Duration;

use crossbeam_channel as crossbeam;
use ipc_channel::ipc;
use procession::Queue;

use crate::Result;
use crate::contest::{Contender, Effort, Figure, Group, Target, With, at_least};
use crate::team::{self, Kind, Member, Report, member};

const ONE: &str = "u64, 1 producer, 1 consumer";
const FOUR: &str = "u64, 4 producers, 4 consumers";
const RATE: &[Figure] = &[Figure {
    name: "",
    unit: "million/s",
}];
const IPC: &str = "ipc-channel";
const IPC_ALONE: &str = "ipc-channel (1 consumer at most)";
/// Capacity of a bounded queue.
const ROOM: usize = 1000;
/// Number of messages in a batch.
const BATCH: usize = 256;

/// Returns the groups of this file.
pub fn groups() -> Vec<Group> {
    vec![
        Group {
            name: ONE,
            figures: RATE,
            references: &[IPC],
            contenders: {
                let mut contenders = contenders(1, IPC, &[at_least(8.0, IPC), aim(10.0)]);
                let pipe = Contender::new("procession pipe_one_way, send and recv", |effort| {
                    pipe(effort.of(2_000_000))
                });
                contenders.push(pipe.target(at_least(10.0, IPC)));
                contenders
            },
        },
        Group {
            name: FOUR,
            figures: RATE,
            references: &[IPC_ALONE],
            contenders: contenders(
                4,
                IPC_ALONE,
                &[Target {
                    with: With::Itself(ONE),
                    ..at_least(0.5, "")
                }],
            ),
        },
    ]
}

fn aim(million: f64) -> Target {
    Target {
        with: With::Aim,
        ..at_least(million, "")
    }
}

fn contenders(each: usize, ipc: &'static str, targets: &[Target]) -> Vec<Contender> {
    let ours = |name, room: Option<usize>, way| {
        let contender = Contender::new(name, move |effort: Effort| {
            procession(each, room, way, effort.of(2_000_000))
        });
        // The targets are for one message at a time.
        let targets = if let Way::One = way { targets } else { &[] };
        targets
            .iter()
            .fold(contender, |contender, &target| contender.target(target))
    };
    vec![
        ours("procession Queue, put and get", None, Way::One),
        Contender::new(ipc, move |effort| ipc_channel(each, effort.of(200_000))),
        ours(
            "procession Queue bounded(1000), put and get",
            Some(ROOM),
            Way::One,
        ),
        ours("procession Queue, put_many and get_many", None, Way::Many),
        ours(
            "procession Queue bounded(1000), put_many and get_many",
            Some(ROOM),
            Way::Many,
        ),
        Contender::new("crossbeam-channel unbounded, threads", move |effort| {
            crossbeam_channel(each, None, effort.of(4_000_000))
        })
        .yardstick(),
        Contender::new("crossbeam-channel bounded(1000), threads", move |effort| {
            crossbeam_channel(each, Some(ROOM), effort.of(4_000_000))
        })
        .yardstick(),
    ]
}

/// Whether messages are sent one at a time or in batches.
#[derive(Clone, Copy)]
enum Way {
    One,
    Many,
}

/// Returns the numbers that producer `n` of `each` producers sends.
fn share(total: u64, each: usize, n: usize) -> std::ops::Range<u64> {
    let part = total / each as u64;
    n as u64 * part..(n as u64 + 1) * part
}

/// Runs the team, checks that all messages arrived, and returns the rate in millions per second.
fn judge(kind: Kind, members: Vec<Member>, each: usize, total: u64) -> Result<Vec<f64>> {
    let outcome = team::run(kind, members, None::<Duration>)?;
    let total = total / each as u64 * each as u64;
    outcome.check(total, (0..total).sum())?;
    Ok(vec![total as f64 / outcome.seconds() / 1e6])
}

fn procession(each: usize, room: Option<usize>, way: Way, total: u64) -> Result<Vec<f64>> {
    let queue = match room {
        Some(room) => Queue::bounded(room)?,
        None => Queue::unbounded()?,
    };
    let produce = |n| {
        let (queue, numbers) = (queue.clone(), share(total, each, n));
        member(move |start| {
            start.wait();
            match way {
                Way::One => {
                    for number in numbers {
                        queue.put(number)?;
                    }
                }
                Way::Many => {
                    queue.put_many(numbers)?;
                }
            }
            if start.last_of(each) {
                queue.shutdown();
            }
            Ok(Report::done(0, 0))
        })
    };
    let consume = |_| {
        let queue: Queue<u64> = queue.clone();
        member(move |start| {
            start.wait();
            let (mut count, mut sum) = (0, 0);
            match way {
                Way::One => {
                    for number in &queue {
                        count += 1;
                        sum += number;
                    }
                }
                Way::Many => {
                    while let Ok(numbers) = queue.get_many(BATCH) {
                        count += numbers.len() as u64;
                        sum += numbers.iter().sum::<u64>();
                    }
                }
            }
            Ok(Report::done(count, sum))
        })
    };
    let members = (0..each).map(produce).chain((0..each).map(consume)).collect();
    judge(Kind::Processes, members, each, total)
}

fn pipe(total: u64) -> Result<Vec<f64>> {
    let (receiver, sender) = procession::pipe_one_way::<u64>()?;
    let members = vec![
        member(move |start| {
            start.wait();
            for number in 0..total {
                sender.send(number)?;
            }
            Ok(Report::done(0, 0))
        }),
        member(move |start| {
            start.wait();
            let mut sum = 0;
            // Forked members have copies of both ends, so no receiver would see the end of the channel.
            for _ in 0..total {
                sum += receiver.recv()?;
            }
            Ok(Report::done(total, sum))
        }),
    ];
    judge(Kind::Processes, members, 1, total)
}

fn ipc_channel(each: usize, total: u64) -> Result<Vec<f64>> {
    let (sender, receiver) = ipc::channel::<u64>()?;
    let all = total / each as u64 * each as u64;
    let mut members = vec![member(move |start| {
        start.wait();
        let mut sum = 0;
        for _ in 0..all {
            sum += receiver.recv()?;
        }
        Ok(Report::done(all, sum))
    })];
    members.extend((0..each).map(|n| {
        let (sender, numbers) = (sender.clone(), share(total, each, n));
        member(move |start| {
            start.wait();
            for number in numbers {
                sender.send(number)?;
            }
            Ok(Report::done(0, 0))
        })
    }));
    judge(Kind::Processes, members, each, total)
}

fn crossbeam_channel(each: usize, room: Option<usize>, total: u64) -> Result<Vec<f64>> {
    let (sender, receiver) = match room {
        Some(room) => crossbeam::bounded(room),
        None => crossbeam::unbounded(),
    };
    let mut members: Vec<_> = (0..each)
        .map(|n| {
            let (sender, numbers) = (sender.clone(), share(total, each, n));
            member(move |start| {
                start.wait();
                for number in numbers {
                    sender.send(number)?;
                }
                Ok(Report::done(0, 0))
            })
        })
        .collect();
    // The consumers end when the last producer has dropped its sender.
    drop(sender);
    members.extend((0..each).map(|_| {
        let receiver = receiver.clone();
        member(move |start| {
            start.wait();
            let (mut count, mut sum) = (0, 0);
            for number in &receiver {
                count += 1;
                sum += number;
            }
            Ok(Report::done(count, sum))
        })
    }));
    judge(Kind::Threads, members, each, total)
}
