//! Bytes per second through a queue, in large messages from one process to another.
//!
//! The producer sends each message from its own buffer. The consumer either copies it into its own buffer, or reads it
//! in place, one word in each cache line. A few unmeasured messages go first, so that all memory that is reused is
//! warm.

use std::hint::black_box;
use std::time::Instant;

use ipc_channel::ipc::{self, IpcSharedMemory};
use procession::ByteQueue;

use crate::Result;
use crate::contest::{Contender, Effort, Figure, Group, at_least};
use crate::team::{self, Kind, Report, member};

const MEMCPY: &str = "memcpy, one thread";
const IPC: &str = "ipc-channel bytes_channel";
/// Number of messages sent before the measurement.
const WARM_UP: u64 = 8;
/// Capacity of the queue, in messages.
const ROOM: usize = 4;

/// Returns the groups of this file.
pub fn groups() -> Vec<Group> {
    vec![
        group("bytes, messages of 64 KiB", 64 << 10, false),
        group("bytes, messages of 1 MiB", 1 << 20, true),
        group("bytes, messages of 16 MiB", 16 << 20, false),
    ]
}

fn group(name: &'static str, size: usize, with_targets: bool) -> Group {
    let messages = move |effort: Effort, mebibytes: u64| effort.of(mebibytes * (1 << 20) / size as u64);
    let mut contenders = vec![
        Contender::new("procession ByteQueue, copying", move |effort| {
            copying(size, messages(effort, 2048))
        }),
        Contender::new("procession ByteQueue, zero-copy", move |effort| {
            in_place(size, messages(effort, 2048))
        }),
        Contender::new(IPC, move |effort| bytes_channel(size, messages(effort, 512))),
        Contender::new("ipc-channel IpcSharedMemory", move |effort| {
            shared_memory(size, messages(effort, 512))
        }),
        Contender::new(MEMCPY, move |effort| {
            team::apart(|| Ok(memcpy(size, messages(effort, 4096))))
        })
        .yardstick(),
    ];
    if with_targets {
        contenders[0].targets = vec![at_least(2.0, IPC), at_least(0.3, MEMCPY)];
        contenders[1].targets = vec![at_least(0.6, MEMCPY)];
    }
    Group {
        name,
        figures: &[Figure {
            name: "",
            unit: "GB/s",
        }],
        references: &[MEMCPY, IPC],
        contenders,
    }
}

/// Sends `count` messages of `size` bytes from one process to another, and returns the rate in GB/s. `receive` returns
/// a word of the message, or a sum of several words: the value is not checked, but it must be computed.
fn stream(
    size: usize,
    count: u64,
    mut send: impl FnMut(&[u8]) -> Result<()> + Send + 'static,
    mut receive: impl FnMut() -> Result<u64> + Send + 'static,
) -> Result<Vec<f64>> {
    let producer = member(move |start| {
        let source = vec![1; size];
        for _ in 0..WARM_UP {
            send(&source)?;
        }
        start.wait();
        for _ in 0..count {
            send(&source)?;
        }
        Ok(Report::done(0, 0))
    });
    let consumer = member(move |start| {
        for _ in 0..WARM_UP {
            receive()?;
        }
        start.wait();
        for _ in 0..count {
            black_box(receive()?);
        }
        Ok(Report::done(count, 0))
    });
    let outcome = team::run(Kind::Processes, vec![producer, consumer], None)?;
    outcome.check(count, 0)?;
    Ok(vec![count as f64 * size as f64 / outcome.seconds() / 1e9])
}

/// Fails if a message does not have the size that was sent.
fn measure(bytes: &[u8], size: usize) -> Result<&[u8]> {
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(format!("a message of {size} bytes arrived as one of {}", bytes.len()).into())
    }
}

/// Reads one word of each cache line, and returns the sum.
fn look(bytes: &[u8]) -> u64 {
    bytes
        .as_chunks::<64>()
        .0
        .iter()
        .map(|line| u64::from_ne_bytes(*line.first_chunk().unwrap_or(&[0; 8])))
        .fold(0, u64::wrapping_add)
}

fn copying(size: usize, count: u64) -> Result<Vec<f64>> {
    let queue = ByteQueue::bounded(ROOM)?;
    let other = queue.clone();
    let mut buffer = Vec::new();
    stream(
        size,
        count,
        move |source| Ok(queue.put(source)?),
        move || {
            other.get_into(&mut buffer)?;
            Ok(u64::from(black_box(measure(&buffer, size)?)[size - 1]))
        },
    )
}

fn in_place(size: usize, count: u64) -> Result<Vec<f64>> {
    let queue = ByteQueue::bounded(ROOM)?;
    let other = queue.clone();
    stream(
        size,
        count,
        move |source| {
            let mut place = queue.reserve(source.len())?;
            place.copy_from_slice(source);
            Ok(place.commit()?)
        },
        move || Ok(look(measure(&other.get()?, size)?)),
    )
}

fn bytes_channel(size: usize, count: u64) -> Result<Vec<f64>> {
    let (sender, receiver) = ipc::bytes_channel()?;
    stream(
        size,
        count,
        move |source| Ok(sender.send(source)?),
        move || {
            let bytes = receiver.recv()?;
            Ok(u64::from(black_box(measure(&bytes, size)?)[size - 1]))
        },
    )
}

fn shared_memory(size: usize, count: u64) -> Result<Vec<f64>> {
    let (sender, receiver) = ipc::channel::<IpcSharedMemory>()?;
    stream(
        size,
        count,
        move |source| Ok(sender.send(IpcSharedMemory::from_bytes(source))?),
        move || Ok(look(measure(&receiver.recv()?, size)?)),
    )
}

fn memcpy(size: usize, count: u64) -> Vec<f64> {
    let source = vec![1_u8; size];
    let mut destination = vec![0_u8; size];
    let mut copy = |count| {
        for _ in 0..count {
            black_box(&mut destination[..]).copy_from_slice(black_box(&source));
        }
    };
    copy(WARM_UP);
    let begin = Instant::now();
    copy(count);
    vec![count as f64 * size as f64 / begin.elapsed().as_secs_f64() / 1e9]
}
