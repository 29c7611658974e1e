//! Pipes: messages are whole, and when the process of an end dies at any step, its peer sees the end.

use super::{Corpse, dies_at_every_step, entry, run_to};
use crate::{Connection, Error, Queue, pipe, pipe_one_way};
use std::cell::Cell;

type End = Connection<Vec<u8>, Vec<u8>>;

/// One end of a pipe. The other end is in a queue, so that only the process that gets it from there has it.
struct Lonely {
    here: End,
    there: Queue<End>,
    used: Cell<bool>,
}

fn lonely() -> Lonely {
    let (here, there) = pipe().expect("a pipe");
    let queue = Queue::unbounded().expect("a queue");
    queue.put(there).expect("room");
    Lonely {
        here,
        there: queue,
        used: Cell::new(false),
    }
}

impl Lonely {
    fn assert_gone(&self) {
        assert_eq!(self.here.try_recv(), Err(Error::Disconnected));
        assert_eq!(self.here.send(vec![]).unwrap_err().error(), Error::BrokenPipe);
    }
}

impl Drop for Lonely {
    /// Checks the end of the pipe after all dead processes are cleared up after and the queue is emptied: then the last
    /// reference to the other end is gone.
    fn drop(&mut self) {
        if self.used.get() && !std::thread::panicking() {
            self.there.shutdown_now();
            while self.here.try_recv().is_ok() {}
            self.assert_gone();
        }
    }
}

#[test]
fn an_end_is_given_up() {
    dies_at_every_step(
        lonely,
        |lonely| {
            let there = lonely.there.get().expect("the other end");
            there.send(b"good".to_vec()).expect("room");
            there.send(vec![7; 10_000]).expect("room");
            there.close();
        },
        |lonely, through| {
            lonely.used.set(true);
            let got: Vec<_> = std::iter::from_fn(|| lonely.here.try_recv().ok()).collect();
            let sent = [b"good".to_vec(), vec![7; 10_000]];
            assert!(got == sent[..got.len()], "whole and in order");
            if through {
                assert_eq!(got.len(), 2);
                lonely.assert_gone();
            }
        },
    );
}

/// Checks that unread messages are dropped with the reading end.
#[test]
fn an_end_with_messages_is_given_up() {
    dies_at_every_step(
        || {
            let lonely = lonely();
            lonely.here.send(vec![1; 10]).expect("room");
            lonely.here.send(vec![2; 20_000]).expect("room");
            lonely
        },
        |lonely| lonely.there.get().expect("the other end").close(),
        |lonely, through| {
            lonely.used.set(true);
            assert!(!through || lonely.here.try_send(vec![]).is_err());
        },
    );
}

#[test]
fn making_and_dropping() {
    dies_at_every_step(
        || (),
        |()| {
            let (receiver, sender) = pipe_one_way().expect("a pipe");
            sender.send(5).expect("room");
            drop(sender);
            assert_eq!(receiver.recv(), Ok(5));
            assert_eq!(receiver.recv(), Err(Error::Disconnected));
        },
        |(), _| {},
    );
}

/// Kills the survivor too, while it gives up the end of a dead process.
#[test]
fn clearing_up() {
    let heap = crate::program::heap().expect("a heap");
    dies_at_every_step(
        || {
            let (receiver, sender) = pipe_one_way::<u8>().expect("a pipe");
            let queue = Queue::unbounded().expect("a queue");
            queue.put(sender).expect("room");
            let reserved = entry(heap);
            let dead = reserved.id;
            run_to(reserved, 0, || {
                let sender = queue.get().expect("the other end");
                sender.send(5).expect("room");
                core::mem::forget(sender);
            });
            drop(queue);
            heap.no_longer_wanted(dead).expect("memory");
            (receiver, Corpse(heap, dead))
        },
        |(_, dead)| heap.clear_up(dead.1).expect("memory"),
        |(receiver, dead), _| {
            heap.clear_up(dead.1).expect("memory");
            assert_eq!(receiver.try_recv(), Ok(5));
            assert_eq!(receiver.try_recv(), Err(Error::Disconnected));
        },
    );
}
