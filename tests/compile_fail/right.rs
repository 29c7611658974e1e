//! The ways to pass a function and its arguments.

use procession::{Lock, Process, Queue};

fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[procession::main]
fn main() -> procession::Result<()> {
    assert_eq!(Process::spawn(add, (1, 2))?.join()?, 3);
    assert_eq!(Process::spawn(|n: u64| n + 1, 1)?.join()?, 2);
    let queue = Queue::unbounded()?;
    Process::spawn(|queue: Queue<u64>| drop(queue.put(1)), queue.clone())?.join()?;
    let captured = queue.get()?;
    assert_eq!(Process::fork(|| captured + 1)?.join()?, 2);
    let lock = Lock::new()?;
    assert_eq!(Process::spawn(|lock: Lock| lock.lock().is_ok(), lock.clone())?.join(), Ok(true));
    Ok(())
}
