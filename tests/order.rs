//! The order of the engine's own locks: threads take several locks in one order, so that no threads wait in a circle,
//! within a process and between processes. (In debug builds each lock also checks that it is taken in order.)

mod common;

use common::{alone, alone_with, watchdog};
use procession::{Error, Process, Queue, Receiver, Sender, StartMethod, pipe_one_way_bounded};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The size of messages that soon fill a segment.
fn large() -> Vec<u8> {
    vec![7; 8000]
}

/// Lets one thread send, for which it needs segments; a second drops the last handle of the reading end, which shuts
/// the ring that the first sends to; a third forks between the locks of the others.
#[procession::test]
fn sending_ending_and_forking_in_one_process() {
    let _watchdog = watchdog();
    alone("sending_ending_and_forking_in_one_process", || {
        let over = AtomicBool::new(false);
        let [sent, dropped, forked] = [(); 3].map(|()| AtomicU64::new(0));
        let (give, take) = std::sync::mpsc::sync_channel::<Sender<Vec<u8>>>(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for writer in take {
                    while writer.try_send(large()).is_ok() {}
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                let give = give;
                while !over.load(Ordering::Relaxed) {
                    let (reader, writer) = pipe_one_way_bounded::<Vec<u8>>(1000).unwrap();
                    give.send(writer).unwrap();
                    thread::sleep(Duration::from_micros(30));
                    drop(reader);
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            });
            let end = Instant::now() + Duration::from_secs(6);
            while Instant::now() < end {
                Process::builder().fork(|| ()).unwrap().join().unwrap();
                forked.fetch_add(1, Ordering::Relaxed);
            }
            over.store(true, Ordering::Relaxed);
        });
        for count in [sent, dropped, forked] {
            assert!(count.into_inner() > 0);
        }
    });
}

fn read_nothing(reader: Receiver<Vec<u8>>, up: Queue<bool>) {
    up.put(true).unwrap();
    thread::sleep(Duration::from_secs(600));
    drop(reader);
}

/// Sends as long as there is a reader, even if there is no memory for another message.
fn send_always(writer: Sender<Vec<u8>>, full: Queue<bool>) {
    let mut told = false;
    loop {
        match writer.try_send(large()).map_err(Error::from) {
            Ok(()) => {}
            Err(Error::OutOfMemory { .. }) if told => {}
            Err(Error::OutOfMemory { .. }) => {
                full.put(true).unwrap();
                told = true;
            }
            Err(_) => return,
        }
    }
}

/// Lets a sender in a full heap clear up after dead processes to get memory, while another thread clears up after the
/// dead reader, and so shuts the ring that the sender sends to.
#[procession::test]
fn clearing_up_while_others_send_in_a_full_heap() {
    let _watchdog = watchdog();
    let small = [("PROCESSION_HEAP_BYTES", "67108864")];
    alone_with("clearing_up_while_others_send_in_a_full_heap", &small, || {
        let by = |method| Process::builder().method(method);
        for n in 0..10 {
            let (full, up) = (Queue::unbounded().unwrap(), Queue::unbounded().unwrap());
            let (reader, writer) = pipe_one_way_bounded::<Vec<u8>>(1 << 20).unwrap();
            let reads = by(StartMethod::Spawn).spawn(read_nothing, (reader, up.clone()));
            let reads = reads.unwrap();
            up.get().unwrap();
            let sends = by(StartMethod::Spawn).spawn(send_always, (writer, full.clone()));
            let sends = sends.unwrap();
            full.get().unwrap();
            thread::sleep(Duration::from_millis(50 + n));
            reads.kill().unwrap();
            assert!(reads.join().is_err());
            sends.join().unwrap();
        }
    });
}
