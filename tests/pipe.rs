//! Pipes: both directions, capacity and deadlines, and what the peer of a dead process receives.

mod common;

use common::{A_WHILE, METHODS, not_before, pattern, watchdog};
use procession::{
    Connection, Error, Process, Queue, Receiver, RecvIntoError, SendError, Sender, pipe, pipe_bounded,
    pipe_one_way, pipe_one_way_bounded,
};
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(30);

// ---- messages ----

fn echo(end: Connection<String, String>) -> u64 {
    let mut count = 0;
    while let Ok(text) = end.recv() {
        end.send(format!("{text}!")).unwrap();
        count += 1;
    }
    count
}

#[procession::test]
fn messages_travel_both_ways_with_every_start_method() {
    let _watchdog = watchdog();
    for method in METHODS {
        let queue = Queue::unbounded().unwrap();
        let process = Process::builder()
            .method(method)
            .spawn(
                |queue: Queue<Connection<String, String>>| echo(queue.get().unwrap()),
                queue.clone(),
            )
            .unwrap();
        // Made after the child was started, so that a forked child has no copy of this end.
        let (here, there) = pipe().unwrap();
        queue.put(there).unwrap();
        for n in 0..100 {
            here.send(n.to_string()).unwrap();
            assert_eq!(here.recv().unwrap(), format!("{n}!"));
        }
        here.close();
        assert_eq!(process.join().unwrap(), 100, "{method:?}");
    }
}

#[test]
fn large_messages_arrive_whole() {
    let _watchdog = watchdog();
    let (here, there) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
    for len in [0, 1, 8_191, 8_192, 8_193, 65_536, 5 << 20] {
        here.send_bytes(&pattern(len as u64, len)).unwrap();
        assert!(*there.recv_bytes().unwrap() == pattern(len as u64, len));
        there.send(pattern(len as u64, len)).unwrap();
        assert!(here.recv().unwrap() == pattern(len as u64, len));
    }
}

#[test]
fn an_end_travels_through_a_pipe() {
    let (here, there) = pipe::<Sender<u8>, ()>().unwrap();
    let (receiver, sender) = pipe_one_way().unwrap();
    here.send(sender.clone()).unwrap();
    drop(sender);
    // While it is in a message, the end still exists.
    assert_eq!(receiver.try_recv(), Err(Error::Empty));
    let sender = there.recv().unwrap();
    sender.send(7).unwrap();
    assert_eq!(receiver.recv(), Ok(7));
    // This one is never received: it is dropped with the end that would have received it.
    here.send(sender).unwrap();
    drop(there);
    assert_eq!(receiver.recv(), Err(Error::Disconnected));
}

#[test]
fn each_message_is_received_once_when_an_end_is_shared() {
    let _watchdog = watchdog();
    let (receiver, sender) = pipe_one_way::<u64>().unwrap();
    let sums: Vec<u64> = thread::scope(|scope| {
        let readers = [(); 3].map(|()| scope.spawn(|| std::iter::from_fn(|| receiver.recv().ok()).sum()));
        let writers = [(); 2].map(|()| {
            let sender = sender.clone();
            scope.spawn(move || (1..=5000).for_each(|n| sender.send(n).unwrap()))
        });
        drop(sender);
        for writer in writers {
            writer.join().unwrap();
        }
        readers.map(|reader| reader.join().unwrap()).into()
    });
    assert_eq!(sums.iter().sum::<u64>(), 2 * 5000 * 5001 / 2);
}

#[test]
fn a_message_longer_than_the_buffer_is_given_back() {
    let (receiver, sender) = pipe_one_way::<()>().unwrap();
    for len in [10, 20_000] {
        sender.send_bytes(&pattern(1, len)).unwrap();
        let error = receiver.recv_bytes_into(&mut vec![0; len - 1]).unwrap_err();
        let expected = Error::BufferTooShort {
            len: len as u64,
            room: len as u64 - 1,
        };
        assert_eq!(error.error(), expected);
        let RecvIntoError::TooShort { message, .. } = error else {
            panic!("{error}");
        };
        assert!(*message == pattern(1, len));
        sender.send_bytes(&pattern(2, len)).unwrap();
        let mut buffer = vec![0; len + 1];
        assert_eq!(receiver.recv_bytes_into(&mut buffer).unwrap(), len);
        assert!(buffer[..len] == pattern(2, len) && buffer[len] == 0);
    }
    drop(sender);
    let error = receiver.recv_bytes_into(&mut []).unwrap_err();
    assert!(matches!(error, RecvIntoError::Failed(Error::Disconnected)));
}

// ---- capacity and deadlines ----

#[test]
fn a_sender_waits_while_the_pipe_is_full() {
    let _watchdog = watchdog();
    let (here, there) = pipe_bounded::<u32, ()>(2).unwrap();
    here.send(1).unwrap();
    here.send(2).unwrap();
    assert!(matches!(here.try_send(3), Err(SendError::Full(3))));
    assert!(matches!(
        not_before(SOON, || here.send_timeout(3, SOON)),
        Err(SendError::Timeout(3))
    ));
    assert_eq!(here.try_send_bytes(b"x"), Err(Error::Full));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| here.send(3));
        thread::sleep(A_WHILE);
        assert!(!waiting.is_finished());
        assert_eq!(there.recv(), Ok(1));
        waiting.join().unwrap().unwrap();
    });
    assert!(matches!(pipe_bounded::<(), ()>(0), Err(Error::Capacity { .. })));
    assert!(matches!(
        pipe_one_way_bounded::<()>(0),
        Err(Error::Capacity { .. })
    ));
}

#[test]
fn a_deadline_does_not_come_early() {
    let _watchdog = watchdog();
    let (receiver, sender) = pipe_one_way::<u8>().unwrap();
    assert_eq!(receiver.try_recv(), Err(Error::Empty));
    assert_eq!(
        not_before(SOON, || receiver.recv_timeout(SOON)),
        Err(Error::Timeout)
    );
    assert_eq!(not_before(SOON, || receiver.poll(SOON)), Ok(false));
    assert_eq!(receiver.poll(Duration::ZERO), Ok(false));
    sender.send(1).unwrap();
    assert_eq!(receiver.poll(Duration::ZERO), Ok(true));
    assert_eq!(receiver.poll(Duration::MAX), Ok(true));
    assert_eq!(receiver.recv_timeout(Duration::ZERO), Ok(1));
    assert_eq!(
        not_before(SOON, || receiver.recv_bytes_timeout(SOON).map(drop)),
        Err(Error::Timeout)
    );
}

// ---- the end ----

#[test]
fn messages_are_received_before_the_end() {
    let _watchdog = watchdog();
    let (here, there) = pipe::<u8, u8>().unwrap();
    let second = here.clone();
    here.send(1).unwrap();
    there.send(9).unwrap();
    here.close();
    assert_eq!(there.recv(), Ok(1));
    assert_eq!(there.try_recv(), Err(Error::Empty), "there is another handle");
    drop(second);
    assert_eq!(there.recv(), Err(Error::Disconnected));
    assert_eq!(there.poll(Duration::ZERO), Ok(true));
    assert!(matches!(there.send(5), Err(SendError::Broken(5))));
    assert_eq!(there.send_bytes(&[0; 20_000]), Err(Error::BrokenPipe));
}

#[test]
fn the_end_wakes_a_waiting_receiver() {
    let _watchdog = watchdog();
    let (here, there) = pipe_bounded::<u8, u8>(1).unwrap();
    there.send(0).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| there.recv());
        let writer = scope.spawn(|| there.send(1).map_err(SendError::into_inner));
        thread::sleep(A_WHILE);
        assert!(!reader.is_finished() && !writer.is_finished());
        drop(here);
        assert_eq!(reader.join().unwrap(), Err(Error::Disconnected));
        assert_eq!(writer.join().unwrap(), Err(1));
    });
}

/// Sends a message, and waits to be killed.
fn hold(end: Connection<u8, u8>) {
    end.send(1).unwrap();
    loop {
        thread::park();
    }
}

#[procession::test]
fn a_killed_peer_is_noticed_without_a_join() {
    let _watchdog = watchdog();
    for writes in [false, true] {
        let (here, there) = pipe_bounded(1).unwrap();
        let process = Process::spawn(hold, there).unwrap();
        assert_eq!(here.recv(), Ok(1));
        here.send(0).unwrap();
        process.kill().unwrap();
        // The handle is kept, so only waiting at the pipe finds out.
        if writes {
            assert!(matches!(here.send(5), Err(SendError::Broken(5))));
        } else {
            assert_eq!(here.recv(), Err(Error::Disconnected));
        }
        assert_eq!(here.poll(Duration::ZERO), Ok(true));
        assert!(process.join().is_err());
    }
}

/// Sends numbers until it is killed.
fn count(sender: Sender<Vec<u64>>) {
    for n in 0.. {
        sender.send(vec![n; if n % 3 == 0 { 3000 } else { 3 }]).unwrap();
    }
}

#[procession::test]
fn messages_of_a_killed_writer_are_whole() {
    let _watchdog = watchdog();
    for round in 0..3 {
        let (receiver, sender): (Receiver<Vec<u64>>, _) = pipe_one_way_bounded(50).unwrap();
        let process = Process::spawn(count, sender).unwrap();
        let mut next = 0;
        while let Ok(numbers) = receiver.recv() {
            assert!(
                numbers.iter().all(|&n| n == next) && numbers.len() == if next % 3 == 0 { 3000 } else { 3 }
            );
            if next == 50 * round {
                process.kill().unwrap();
            }
            next += 1;
        }
        assert_eq!(receiver.recv(), Err(Error::Disconnected));
        assert!(process.join().is_err());
    }
}
