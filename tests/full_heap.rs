//! A heap without any memory left: no message is lost, and giving up objects needs no memory.

mod common;

use common::{alone_with, pattern, watchdog};
use procession::{Error, Lock, PutError, Queue};

const SMALL: [(&str, &str); 1] = [("PROCESSION_HEAP_BYTES", "67108864")];

type Message = (u64, Vec<u8>, Vec<Lock>);

/// Puts messages of `len` bytes, each with a handle, until there is no memory for another.
fn fill(queue: &Queue<Message>, count: &mut u64, len: usize, lock: &Lock) {
    loop {
        match queue.put((*count, pattern(*count, len), vec![lock.clone()])) {
            Ok(()) => *count += 1,
            Err(PutError::Failed(_, Error::OutOfMemory { .. })) => return,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Gets all messages, with `get_many` and as many at a time as it returns. Returns the number of errors.
fn drain(queue: &Queue<Message>, from: u64, to: u64) -> u64 {
    let (mut next, mut errors) = (from, 0);
    while next < to {
        match queue.get_many(256) {
            Ok(messages) => {
                assert!(!messages.is_empty());
                for (n, bytes, _) in messages {
                    assert_eq!(n, next, "messages are lost");
                    assert!(bytes == pattern(n, bytes.len()), "message {n} is whole");
                    next += 1;
                }
            }
            Err(Error::OutOfMemory { .. }) => errors += 1,
            Err(error) => panic!("{error:?}"),
        }
        assert!(errors < 3, "message {next} of {to} cannot be got");
    }
    assert!(queue.is_empty());
    errors
}

/// Gets blocks one by one, each into a slot of this process's table. For some of them no slot is left, and no memory
/// for more slots.
#[procession::test]
fn what_was_taken_before_memory_ran_out_is_not_lost() {
    let _watchdog = watchdog();
    alone_with("what_was_taken_before_memory_ran_out_is_not_lost", &SMALL, || {
        for held in [440, 500] {
            let queue = Queue::<Message>::unbounded().unwrap();
            let locks: Vec<_> = (0..held).map(|_| Lock::new().unwrap()).collect();
            let mut count = 0;
            for len in [300_000, 20_000, 9_000, 5_000] {
                fill(&queue, &mut count, len, &locks[0]);
            }
            assert!(count > 100);
            assert_eq!(drain(&queue, 0, count), 0);
        }
    });
}

/// Drops queues full of messages with the last handles of other queues, while every slot is in use and no memory is
/// left.
#[procession::test]
fn giving_up_needs_no_memory() {
    let _watchdog = watchdog();
    alone_with("giving_up_needs_no_memory", &SMALL, || {
        let mut most = 0;
        for _ in 0..3 {
            let queue = Queue::<Message>::unbounded().unwrap();
            let few = Queue::unbounded().unwrap();
            few.put_many((0..600).map(|_| Lock::new().unwrap())).unwrap();
            let mut count = 0;
            // Each message has the last handle of a lock.
            for len in [300_000, 20_000, 9_000, 5_000] {
                loop {
                    let Ok(lock) = Lock::new() else { break };
                    match queue.put((count, pattern(count, len), vec![lock])) {
                        Ok(()) => count += 1,
                        Err(PutError::Failed(_, Error::OutOfMemory { .. })) => break,
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
            // Uses up every slot: first by the locks in the other queue, which need a slot each but no memory, then by
            // new locks.
            let mut locks = Vec::new();
            for make in [|few: &Queue<Lock>| few.try_get(), |_: &Queue<Lock>| Lock::new()] {
                let error = loop {
                    match make(&few) {
                        Ok(lock) => locks.push(lock),
                        Err(error) => break error,
                    }
                };
                let is_memory = matches!(error, Error::OutOfMemory { .. });
                assert!(is_memory, "{error:?}");
            }
            drop(queue);
            drop(few);
            // All memory is free again.
            let again = Queue::<Message>::unbounded().unwrap();
            let mut fits = 0;
            fill(&again, &mut fits, 300_000, &locks[0]);
            assert!(fits > 80, "only {fits} messages fit where {count} had been");
            most = most.max(fits);
            assert!(
                fits * 10 > most * 9,
                "memory is lost on the way: {fits} of {most}"
            );
            assert_eq!(drain(&again, 0, fits), 0);
        }
    });
}

/// Checks that the memory for a message's handles is allocated before the message is taken: otherwise the message stays
/// in its queue.
#[procession::test]
fn a_message_whose_handles_find_no_room_stays() {
    let _watchdog = watchdog();
    alone_with("a_message_whose_handles_find_no_room_stays", &SMALL, || {
        const MOST: u64 = 3_000;
        for handles in [1, 3] {
            let locks = || (0..handles).map(|_| Lock::new().unwrap()).collect::<Vec<_>>();
            let (queue, filling) = (
                Queue::unbounded().unwrap(),
                Queue::<Message>::unbounded().unwrap(),
            );
            queue.put_many((0..MOST).map(|n| (n, locks()))).unwrap();
            let lock = Lock::new().unwrap();
            let mut count = 0;
            for len in [300_000, 20_000, 9_000, 5_000] {
                fill(&filling, &mut count, len, &lock);
            }
            let mut held = Vec::new();
            let error = loop {
                match queue.get() {
                    Ok((n, locks)) => {
                        assert_eq!(n, held.len() as u64);
                        held.push(locks);
                    }
                    Err(error) => break error,
                }
                // The memory that this freed is used again.
                fill(&filling, &mut count, 100, &lock);
            };
            assert!(matches!(error, Error::OutOfMemory { .. }), "{error:?}");
            assert!(matches!(queue.get_many(10), Err(Error::OutOfMemory { .. })));
            let next = held.len() as u64;
            drop(held);
            assert!(
                queue
                    .iter()
                    .take((MOST - next) as usize)
                    .map(|(n, _)| n)
                    .eq(next..MOST),
                "messages from {next} on are lost"
            );
        }
    });
}
