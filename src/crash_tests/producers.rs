//! Queues that end with their last producer: whichever process dies at whichever step, a queue ends when its last
//! producer is gone, and not before.

use super::{dies_at_every_step, entry, run_to};
use crate::{Error, Producer, Queue};
use std::cell::Cell;

/// A queue. Its only producer is a message in another queue, so that only the process that gets it from there has it.
struct Fed {
    queue: Queue<Vec<u8>>,
    way: Queue<Producer<Vec<u8>>>,
    used: Cell<bool>,
}

fn fed() -> Fed {
    let (queue, way) = (
        Queue::unbounded().expect("a queue"),
        Queue::unbounded().expect("a queue"),
    );
    way.put(queue.producer().expect("a producer")).expect("room");
    Fed {
        queue,
        way,
        used: Cell::new(false),
    }
}

/// Gets all messages, and checks that they are in order and whole.
fn drain(queue: &Queue<Vec<u8>>) -> usize {
    let got: Vec<_> = std::iter::from_fn(|| queue.try_get().ok()).collect();
    let sent = [b"good".to_vec(), vec![7; 10_000]];
    assert!(got == sent[..got.len()], "whole and in order");
    got.len()
}

fn assert_ended(queue: &Queue<Vec<u8>>) {
    assert_eq!(queue.try_get(), Err(Error::ShutDown));
    assert!(queue.try_put(vec![]).is_err());
    assert_eq!(queue.producer().map(drop), Err(Error::ShutDown));
}

fn feed(producer: &Producer<Vec<u8>>) {
    producer.put(b"good".to_vec()).expect("room");
    producer.put(vec![7; 10_000]).expect("room");
}

impl Drop for Fed {
    /// Checks the end of the queue after all dead processes are cleared up after and the other queue is emptied: then
    /// the last producer is gone.
    fn drop(&mut self) {
        if self.used.get() && !std::thread::panicking() {
            self.way.shutdown_now();
            // A message whose put had not returned may have become visible since.
            while self.queue.try_get().is_ok() {}
            assert_ended(&self.queue);
        }
        crate::program::heap()
            .map(crate::heap::Heap::clear_up_all_dead)
            .expect("a heap");
    }
}

#[test]
fn the_last_is_given_up() {
    dies_at_every_step(
        fed,
        |fed| {
            let producer = fed.way.get().expect("a producer");
            feed(&producer);
            producer.close();
        },
        |fed, through| {
            fed.used.set(true);
            let got = drain(&fed.queue);
            if through {
                assert_eq!(got, 2);
                assert_ended(&fed.queue);
            }
        },
    );
}

/// Checks that a producer that is not the last ends nothing.
#[test]
fn another_is_taken_and_given_up() {
    dies_at_every_step(
        || {
            let queue = Queue::unbounded().expect("a queue");
            let producer = queue.producer().expect("a producer");
            (queue, producer)
        },
        |(queue, _)| feed(&queue.producer().expect("another")),
        |(queue, producer), through| {
            assert!(drain(queue) == 2 || !through);
            assert!(!queue.is_shut_down());
            producer.put(b"alive".to_vec()).expect("it goes on");
            let rest: Vec<_> = std::iter::from_fn(|| queue.try_get().ok()).collect();
            assert!(rest.last().is_some_and(|last| last == b"alive"));
        },
    );
}

/// Checks a queue whose first producer dies: it has ended, or never had a producer.
#[test]
fn the_first_is_made() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || Queue::<Vec<u8>>::unbounded().expect("a queue"),
        |queue| feed(&queue.producer().expect("a producer")),
        |queue, through| {
            heap.clear_up_all_dead();
            assert!(drain(queue) == 2 || !through);
            match queue.producer() {
                Ok(producer) => assert!(!through && !producer.is_shut_down()),
                Err(error) => assert_eq!(error, Error::ShutDown),
            }
            assert_ended(queue);
        },
    );
}

/// Kills the survivor too, while it gives up the producer of a dead process.
#[test]
fn clearing_up() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || {
            let fed = fed();
            let reserved = entry(heap);
            let dead = reserved.id;
            run_to(reserved, 0, || {
                let producer = fed.way.get().expect("a producer");
                feed(&producer);
                core::mem::forget(producer);
            });
            heap.no_longer_wanted(dead).expect("memory");
            fed
        },
        |_| _ = heap.clear_up_all_dead(),
        |fed, through| {
            fed.used.set(true);
            if !through {
                heap.clear_up_all_dead();
            }
            assert_eq!(drain(&fed.queue), 2);
            assert_ended(&fed.queue);
        },
    );
}
